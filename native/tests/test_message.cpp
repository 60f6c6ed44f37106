// Frames to messages. All verdicts are compared with the Python plane's in
// tests/unit/native/test_text_against_reference.py; here stand a few by hand, and where the views point.
#include <memory>
#include <string>

#include "check.h"
#include "phoenix/message.h"

namespace {

using namespace polyglot;
using namespace std::string_literals;

constexpr std::string_view kPublish = R"({ "type":"message", "data":{"text":"hi"} })";

bool is_in(std::string_view part, std::string_view whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

TEST("a 2.0.0 frame is a message whose payload is a view into it") {
  const std::string frame = R"(["1", "25" ,"room:lobby","publish", )" + std::string(kPublish) + " ]";
  Decoder decoder;
  Message message;
  Fault fault;
  CHECK(decoder.decode_text(Serializer::v2, frame, message, fault) == Decoded::message);
  CHECK_EQ(message.join_ref, R"("1")");
  CHECK_EQ(message.ref, R"("25")");
  CHECK_EQ(message.topic, "room:lobby");
  CHECK_EQ(message.event, "publish");
  CHECK_EQ(message.payload, kPublish);
  CHECK(is_in(message.topic, frame) && is_in(message.payload, frame));
}

TEST("a 1.0.0 frame is a message, whatever the order of its keys") {
  const std::string frame = R"({"ref":7,"more":[],"payload":)" + std::string(kPublish) +
                            R"(,"event":"publish","t\u006fpic":"r\u006fom:lobby","join_ref":"1"})";
  Decoder decoder;
  Message message;
  Fault fault;
  CHECK(decoder.decode_text(Serializer::v1, frame, message, fault) == Decoded::message);
  CHECK_EQ(message.join_ref, R"("1")");
  CHECK_EQ(message.ref, "7");
  CHECK_EQ(message.topic, "room:lobby");
  CHECK_EQ(message.event, "publish");
  CHECK_EQ(message.payload, kPublish);
}

TEST("a join of 1.0.0 without join_ref is known by its ref") {
  Decoder decoder;
  Message message;
  Fault fault;
  for (const std::string& tail : {"}"s, ",\"join_ref\":null}"s}) {
    const std::string frame = R"({"topic":"room:a","event":"phx_join","payload":{},"ref":"9")" + tail;
    CHECK(decoder.decode_text(Serializer::v1, frame, message, fault) == Decoded::message);
    CHECK_EQ(message.join_ref, R"("9")");
  }
  const std::string leave = R"({"topic":"room:a","event":"phx_leave","payload":{},"ref":"9"})";
  CHECK(decoder.decode_text(Serializer::v1, leave, message, fault) == Decoded::message);
  CHECK_EQ(message.join_ref, "null");
}

struct Case {
  Serializer serializer;
  std::string frame;
  const char* reason;
};

constexpr const char* kNotV2 = "a message of serializer 2.0.0 is [join_ref, ref, topic, event, payload]";

const Case kFaults[] = {
    {Serializer::v2, "", "the frame is not JSON"},
    {Serializer::v2, R"(["1","2","t","e",{}]x)", "the frame is not JSON"},
    {Serializer::v2, "[\"1\",\"2\",\"t\",\"e\",\"\xff\"]x", "the frame is not UTF-8"},
    {Serializer::v2, "{\xff", "the frame is not UTF-8"},
    {Serializer::v2, std::string(2000, '['), "the frame is JSON nested too deeply"},
    {Serializer::v2, "{", kNotV2},
    {Serializer::v2, R"(["1","2","t","e",{},x)", kNotV2},
    {Serializer::v2, R"(["1",1.5,"t","e",{}])", "a ref is a string, an integer or null"},
    {Serializer::v2, "[\"" + std::string(255, 'r') + "\",\"2\",\"t\",\"e\",{}]", "a ref has at most 256 bytes"},
    {Serializer::v1, "[", "a message of serializer 1.0.0 is a JSON object"},
    {Serializer::v1, R"({"topic":"t","event":"e","payload":{}})", "the message lacks topic, event, payload or ref"},
    {Serializer::v1, R"({"topic":1})", "topic and event are strings"},
    {Serializer::v1, R"({"topic":"t","t\u006fpic":"t"})", "the message names a key twice"},
    {Serializer::v1, R"({"x":1,"x":2,"topic":1})", "the message names a key twice"},
};

TEST("a frame that is no message is a fault with its reason, which fits a close frame") {
  Decoder decoder;
  Message message;
  for (const Case& test : kFaults) {
    Fault fault;
    CHECK(decoder.decode_text(test.serializer, test.frame, message, fault) == Decoded::fault);
    CHECK_EQ(fault.code, 1007);
    CHECK_EQ(std::string_view(fault.reason), std::string_view(test.reason));
    CHECK(std::string_view(fault.reason).size() <= 123);
  }
}

TEST("a frame that is cut anywhere is a fault, and nothing beyond its end is read") {
  const std::string frames[] = {R"({"topic":"r\u006fom:a","event":"publish","payload":{"a":[1.5,"\n"]},"ref":"5"})",
                                R"(["1",25,"r\u006fom:lobby","publish",{"a":[1.5,"\n"]}])"};
  Decoder decoder;
  Message message;
  Fault fault;
  for (const Serializer serializer : {Serializer::v1, Serializer::v2}) {
    const std::string& frame = frames[serializer == Serializer::v2];
    CHECK(decoder.decode_text(serializer, frame, message, fault) == Decoded::message);
    for (std::size_t size = 0; size < frame.size(); ++size) {
      const auto exact = std::make_unique<char[]>(size);
      frame.copy(exact.get(), size);
      CHECK(decoder.decode_text(serializer, {exact.get(), size}, message, fault) == Decoded::fault);
    }
  }
}

// Kind, the sizes of join_ref, ref, topic and event, then those, then the data.
const std::string kBinary =
    "\x00\x01\x02\x06\x07"
    "1"
    "25"
    "room:a"
    "publish"
    "{\"type\":\"t\"}"s;

TEST("a binary push is a message, its refs JSON strings") {
  Decoder decoder;
  Message message;
  Fault fault;
  CHECK(decoder.decode_binary(Serializer::v2, kBinary, message, fault) == Decoded::message);
  CHECK_EQ(message.join_ref, R"("1")");
  CHECK_EQ(message.ref, R"("25")");
  CHECK_EQ(message.topic, "room:a");
  CHECK_EQ(message.event, "publish");
  CHECK_EQ(message.payload, R"({"type":"t"})");

  const std::string short_one = "\x00\x00\x01\x01\x01\"te1"s;
  CHECK(decoder.decode_binary(Serializer::v2, short_one, message, fault) == Decoded::message);
  CHECK_EQ(message.join_ref, "null");
  CHECK_EQ(message.ref, R"("\"")");
}

TEST("a binary push whose data is no JSON keeps its head, to be answered") {
  Decoder decoder;
  Message message;
  Fault fault;
  const std::string frame = kBinary + "\xff";
  CHECK(decoder.decode_binary(Serializer::v2, frame, message, fault) == Decoded::payload_not_json);
  CHECK_EQ(message.ref, R"("25")");
  CHECK_EQ(message.topic, "room:a");
  CHECK_EQ(message.payload, "null");
}

TEST("a binary frame that is no push is a fault, and 1.0.0 has none at all") {
  Decoder decoder;
  Message message;
  Fault fault;
  const std::size_t head_bytes = 5 + 1 + 2 + 6 + 7;
  for (std::size_t size = 0; size < head_bytes; ++size) {
    const auto exact = std::make_unique<char[]>(size);
    kBinary.copy(exact.get(), size);
    CHECK(decoder.decode_binary(Serializer::v2, {exact.get(), size}, message, fault) == Decoded::fault);
    CHECK_EQ(fault.code, 1007);
  }
  CHECK(decoder.decode_binary(Serializer::v2, "\x01" + kBinary.substr(1), message, fault) == Decoded::fault);
  CHECK(decoder.decode_binary(Serializer::v2, "\x00\x00\x00\x01\x00\xff{}"s, message, fault) == Decoded::fault);
  CHECK(decoder.decode_binary(Serializer::v1, kBinary, message, fault) == Decoded::fault);
  CHECK_EQ(fault.code, 1003);
}

}  // namespace
