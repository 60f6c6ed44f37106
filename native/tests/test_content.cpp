// {type, data, id?}: what is taken, and which of several faults is told.
#include <string>

#include "check.h"
#include "phoenix/content.h"

namespace {

using namespace polyglot;

TEST("type, data and id are views into the payload") {
  const std::string payload = R"({"id":"order-7","type":"price:tick/1","data":{ "a" : [1] },"more":1})";
  ContentReader reader;
  Content content;
  Refusal refusal;
  CHECK(reader.read(payload, content, refusal));
  CHECK_EQ(content.type, "price:tick/1");
  CHECK_EQ(content.data, R"({ "a" : [1] })");
  CHECK_EQ(content.id, "order-7");
  CHECK(content.data.data() == payload.data() + payload.find("{ \"a\""));
  CHECK(content.type.data() == payload.data() + payload.find("price"));
}

TEST("escaped names are decoded, a null id is none, missing data is null") {
  ContentReader reader;
  Content content;
  Refusal refusal;
  CHECK(reader.read(R"({"t\u0079pe":"m\u0065ssage","id":null})", content, refusal));
  CHECK_EQ(content.type, "message");
  CHECK_EQ(content.data, "null");
  CHECK_EQ(content.id, "");
  CHECK(reader.read(R"({"type":"\u0061","id":"\u0062"})", content, refusal));
  CHECK_EQ(content.type, "a");
  CHECK_EQ(content.id, "b");
}

struct Case {
  const char* payload;
  const char* field;
  const char* message;
};

constexpr const char* kNoType = "a type is 1 to 64 of A-Z a-z 0-9 _ - . : /";
constexpr const char* kNoId =
    "an id is 1 to 64 of A-Z a-z 0-9 _ - . :, holds a letter or digit and does not begin with evt_";

const Case kRefused[] = {
    {"[]", "payload", "the payload is an object {type, data, id?}"},
    {"null", "payload", "the payload is an object {type, data, id?}"},
    {"\"type\"", "payload", "the payload is an object {type, data, id?}"},
    {R"({"type":"t","type":"t"})", "payload", "a key is repeated"},
    {R"({"type":1,"x":1,"\u0078":2})", "payload", "a key is repeated"},
    {R"({"type":1,"id":1})", "type", "type is a string"},
    {R"({"id":1})", "id", "id is a string"},
    {R"({})", "type", "type is missing"},
    {R"({"type":null,"id":""})", "type", "type is missing"},
    {R"({"type":"","id":""})", "type", kNoType},
    {R"({"type":"a b"})", "type", kNoType},
    {R"({"type":"a\n"})", "type", kNoType},
    {R"({"type":"t","id":""})", "id", kNoId},
    {R"({"type":"t","id":"a/b"})", "id", kNoId},
    {R"({"type":"t","id":"-.:_"})", "id", kNoId},
    {R"({"type":"t","id":"evt_1"})", "id", kNoId},
};

TEST("of several faults the first in the order of checks is told") {
  ContentReader reader;
  Content content;
  for (const Case& test : kRefused) {
    Refusal refusal;
    CHECK(!reader.read(test.payload, content, refusal));
    CHECK_EQ(refusal.reason, "invalid");
    CHECK_EQ(refusal.field, test.field);
    CHECK_EQ(refusal.message, test.message);
  }
}

TEST("names have at most 64 bytes") {
  ContentReader reader;
  Content content;
  Refusal refusal;
  const auto payload = [](std::size_t type, std::size_t id) {
    return R"({"type":")" + std::string(type, 't') + R"(","id":")" + std::string(id, '7') + R"("})";
  };
  CHECK(reader.read(payload(64, 64), content, refusal));
  CHECK(!reader.read(payload(65, 64), content, refusal));
  CHECK(!reader.read(payload(64, 65), content, refusal));
}

TEST("a payload that is no JSON is refused and does no harm") {
  ContentReader reader;
  Content content;
  Refusal refusal;
  for (const char* payload : {"", "{", R"({"type")", R"({"type":)", R"({"type":"t)", R"({"type":"t")",
                              R"({"type":"t",)", R"({"type":"t"])", "{type:1}"}) {
    CHECK(!reader.read(payload, content, refusal));
    CHECK_EQ(refusal.field, "payload");
  }
}

}  // namespace
