// JSON as what a `publish` holds. What must hold:
//   - what is taken has a type and an id of their characters, and data that is JSON and lies in the payload;
//   - what is taken is taken again, the same, written with its keys in another order and escaped, beside other fields;
//     with any key a second time it is refused;
//   - a refusal is `invalid` and names one of the fields;
//   - bytes that are no JSON are refused: no caller gives such, but they do no harm.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "phoenix/content.h"
#include "phoenix/json_text.h"
#include "require.h"

namespace {

using namespace polyglot;

struct Copy {
  std::string type, data, id;

  bool operator==(const Copy&) const = default;
};

Copy read(ContentReader& reader, const std::string& payload) {
  Content content;
  Refusal refusal;
  REQUIRE(check_json(payload) == JsonError::none);
  REQUIRE(reader.read(payload, content, refusal));
  return {std::string(content.type), std::string(content.data), std::string(content.id)};
}

void check_repeated(ContentReader& reader, const std::string& payload) {
  Content content;
  Refusal refusal;
  REQUIRE(!reader.read(payload, content, refusal));
  REQUIRE(refusal.field == "payload" && refusal.message == "a key is repeated");
}

bool is_name(std::string_view text, std::string_view more) {
  if (text.empty() || text.size() > 64) return false;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain && more.find(c) == std::string_view::npos) return false;
  }
  return true;
}

void check_taken(ContentReader& reader, const Content& content, std::string_view payload) {
  REQUIRE(is_name(content.type, "_-.:/"));
  REQUIRE(content.id.empty() || (is_name(content.id, "_-.:") && !content.id.starts_with("evt_")));
  REQUIRE(check_json(content.data) == JsonError::none);
  REQUIRE(content.data == "null" || (content.data.data() >= payload.data() &&
                                     content.data.data() + content.data.size() <= payload.data() + payload.size()));

  const Copy found{std::string(content.type), std::string(content.data), std::string(content.id)};
  const std::string id = found.id.empty() ? "null" : "\"" + found.id + "\"";
  const std::string inside = R"("x":1,"\u0069d":)" + id + R"(,"d\u0061ta":)" + found.data + R"(,"":[],"type":")" +
                             found.type + R"(","\u0078\u0078":{})";
  REQUIRE(read(reader, "{" + inside + "}") == found);
  for (const char* key : {"type", "data", "id", "x", "", "xx"}) {
    check_repeated(reader, "{" + inside + ",\"" + key + "\":null}");
    check_repeated(reader, std::string("{\"") + key + "\":null," + inside + "}");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto exact = std::make_unique<char[]>(size);  // of exactly that size: sanitizers see a step beyond
  if (size != 0) std::memcpy(exact.get(), data, size);
  const std::string_view payload(exact.get(), size);
  const bool is_json = check_json(payload) == JsonError::none;

  ContentReader reader;
  Content content;
  Refusal refusal;
  if (reader.read(payload, content, refusal)) {
    // What follows the object, and UTF-8, is not looked at again.
    if (is_json) check_taken(reader, content, payload);
    return 0;
  }
  REQUIRE(refusal.reason == "invalid");
  REQUIRE(refusal.field == "payload" || refusal.field == "type" || refusal.field == "id");
  REQUIRE(refusal.limit == -1 && refusal.retry_after_ms == -1);
  return 0;
}
