// Any bytes as a client's frame. The first byte chooses the serializer and the sort of frame. What must hold:
//   - a fault has a code and a reason that a close frame can carry; it speaks of UTF-8 where that is bad, only there;
//   - of a message, refs and payload are JSON, refs are bounded, topic and event are UTF-8;
//   - a text frame's payload lies in it; a message written again, in both serializers, is read as it was;
//   - the decoder remembers nothing: used or new, it says the same.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "phoenix/json_text.h"
#include "phoenix/message.h"
#include "require.h"

namespace {

using namespace polyglot;

constexpr std::size_t kRefBytesMax = 256;
constexpr std::string_view kSpace = " \t\r\n";

struct Copy {
  Decoded decoded;
  std::uint16_t code;
  std::string reason, join_ref, ref, topic, event, payload;

  bool operator==(const Copy&) const = default;
};

Copy decode(Decoder& decoder, Serializer serializer, bool binary, std::string_view frame) {
  Message message;
  Fault fault;
  const Decoded decoded = binary ? decoder.decode_binary(serializer, frame, message, fault)
                                 : decoder.decode_text(serializer, frame, message, fault);
  if (decoded == Decoded::fault) return {decoded, fault.code, fault.reason, {}, {}, {}, {}, {}};
  return {decoded,
          0,
          "",
          std::string(message.join_ref),
          std::string(message.ref),
          std::string(message.topic),
          std::string(message.event),
          std::string(message.payload)};
}

bool is_ref(std::string_view text) {
  if (check_json(text) != JsonError::none || text.find_first_of(kSpace) == 0) return false;
  return text == "null" || text[0] == '"' || text.find_first_not_of("-0123456789") == std::string_view::npos;
}

void check_fault(const Copy& found, std::string_view frame, bool binary) {
  REQUIRE(found.code == 1007 || (found.code == 1003 && binary));
  REQUIRE(!found.reason.empty() && found.reason.size() <= 123);
  if (!binary) REQUIRE((found.reason == "the frame is not UTF-8") == !is_utf8(frame));
}

void check_message(const Copy& found) {
  REQUIRE(is_ref(found.join_ref) && is_ref(found.ref));
  REQUIRE(is_utf8(found.topic) && is_utf8(found.event));
  REQUIRE(check_json(found.payload) == JsonError::none);
  REQUIRE(found.decoded == Decoded::message || found.payload == "null");
}

std::string json(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string written(const Copy& message, Serializer serializer) {
  if (serializer == Serializer::v2) {
    return "[" + message.join_ref + "," + message.ref + "," + json(message.topic) + "," + json(message.event) + "," +
           message.payload + "]";
  }
  return "{\"event\":" + json(message.event) + ",\"x\":0,\"join_ref\":" + message.join_ref +
         ",\"y\":0,\"payload\":" + message.payload + ",\"ref\":" + message.ref + ",\"topic\":" + json(message.topic) +
         "}";
}

void check_written_again(Decoder& decoder, Copy found) {
  if (found.join_ref.size() > kRefBytesMax || found.ref.size() > kRefBytesMax) return;  // binary ones may be, escaped
  found.decoded = Decoded::message;
  const std::size_t from = found.payload.find_first_not_of(kSpace);  // binary frames have it around their payload
  found.payload = found.payload.substr(from, found.payload.find_last_not_of(kSpace) + 1 - from);
  REQUIRE(decode(decoder, Serializer::v2, false, written(found, Serializer::v2)) == found);
  if (found.event == "phx_join" && found.join_ref == "null") found.join_ref = found.ref;
  REQUIRE(decode(decoder, Serializer::v1, false, written(found, Serializer::v1)) == found);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Serializer serializer = (data[0] & 1) != 0 ? Serializer::v2 : Serializer::v1;
  const bool binary = (data[0] & 2) != 0;
  const auto exact = std::make_unique<char[]>(size - 1);  // of exactly that size: sanitizers see a step beyond
  std::memcpy(exact.get(), data + 1, size - 1);
  const std::string_view frame(exact.get(), size - 1);

  Decoder decoder;
  const Copy found = decode(decoder, serializer, binary, frame);
  if (found.decoded == Decoded::fault) {
    check_fault(found, frame, binary);
  } else {
    check_message(found);
    if (!binary) REQUIRE(frame.find(found.payload) != std::string_view::npos && is_utf8(frame));
    check_written_again(decoder, found);
  }
  REQUIRE(decode(decoder, serializer, binary, frame) == found);
  return 0;
}
