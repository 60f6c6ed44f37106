// Binary frames to messages: `0, len(join_ref), len(ref), len(topic), len(event)`, a byte each, then those four, then
// the data, which is the payload as JSON. Part of message.h.
#include <array>

#include "phoenix/json_text.h"
#include "phoenix/message.h"

namespace polyglot {

namespace {

constexpr std::uint16_t kUnsupportedData = 1003;  // RFC 6455, 7.4.1
constexpr std::uint16_t kInvalidPayloadData = 1007;

constexpr char kPush = 0;  // the first byte of the only binary frame that clients send
constexpr std::size_t kHeadBytes = 5;

std::string_view ref_of(std::string_view text, std::string& scratch) {
  if (text.empty()) return "null";
  scratch.clear();
  append_json_string(scratch, text);
  return scratch;
}

Decoded faulty(Fault& fault, const char* reason) {
  fault = {kInvalidPayloadData, reason};
  return Decoded::fault;
}

}  // namespace

Decoded Decoder::decode_binary(Serializer serializer, std::string_view frame, Message& message, Fault& fault) {
  if (serializer == Serializer::v1) {
    fault = {kUnsupportedData, "serializer 1.0.0 has no binary frames"};
    return Decoded::fault;
  }
  if (frame.size() < kHeadBytes || frame[0] != kPush) {
    return faulty(fault, "a binary frame from a client is a push, its first byte 0");
  }
  std::array<std::string_view, kHeadBytes - 1> texts;
  std::size_t start = kHeadBytes;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::size_t size = static_cast<unsigned char>(frame[1 + i]);
    if (start + size > frame.size()) return faulty(fault, "the binary frame is shorter than its lengths say");
    texts[i] = frame.substr(start, size);
    start += size;
  }
  for (const std::string_view text : texts) {
    if (!is_utf8(text)) return faulty(fault, "the head of the binary frame is not UTF-8");
  }
  const std::string_view data = frame.substr(start);
  const bool sound = check_json(data) == JsonError::none;
  message = {ref_of(texts[0], join_ref_), ref_of(texts[1], ref_), texts[2], texts[3], sound ? data : "null"};
  return sound ? Decoded::message : Decoded::payload_not_json;
}

}  // namespace polyglot
