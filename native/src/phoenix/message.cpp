// Text frames to messages. Order matters: a frame that is no UTF-8 is told so whatever else is wrong with it; then
// comes what is wrong first on a way from left to right, JSON or shape; then what only the whole shows: repeated and
// missing keys, strings, refs. Binary frames: message_binary.cpp.
#include "phoenix/message.h"

#include "phoenix/json_cursor.h"

namespace polyglot {

namespace {

constexpr std::uint16_t kInvalidPayloadData = 1007;  // RFC 6455, 7.4.1
constexpr std::size_t kRefBytesMax = 256;  // of JSON text: a socket keeps the refs of what it has not answered

constexpr const char* kNotUtf8 = "the frame is not UTF-8";
constexpr const char* kNotJson = "the frame is not JSON";
constexpr const char* kTooDeep = "the frame is JSON nested too deeply";
constexpr const char* kNotV1 = "a message of serializer 1.0.0 is a JSON object";
constexpr const char* kNotV2 = "a message of serializer 2.0.0 is [join_ref, ref, topic, event, payload]";
constexpr const char* kKeyTwice = "the message names a key twice";
constexpr const char* kLacksKey = "the message lacks topic, event, payload or ref";
constexpr const char* kNoStrings = "topic and event are strings";
constexpr const char* kNoRef = "a ref is a string, an integer or null";
constexpr const char* kRefTooLong = "a ref has at most 256 bytes";

// These return what is wrong, or nullptr.

const char* json_fault(const JsonCursor& cursor) noexcept {
  return cursor.error() == JsonError::too_deep ? kTooDeep : kNotJson;
}

// There is another value than the one that belongs here: arrays and objects are refused at their bracket, others only
// when they are sound.
const char* other_value_fault(JsonCursor& cursor, const char* shape_fault) noexcept {
  const char c = cursor.peek();
  if (c == '[' || c == '{' || cursor.value(0)) return shape_fault;
  return json_fault(cursor);
}

bool is_integer(std::string_view text) noexcept {
  if (text.starts_with('-')) text.remove_prefix(1);
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return !text.empty();
}

const char* ref_fault(std::string_view ref) noexcept {
  if (ref != "null" && !ref.starts_with('"') && !is_integer(ref)) return kNoRef;
  return ref.size() > kRefBytesMax ? kRefTooLong : nullptr;
}

const char* read_text(JsonCursor& cursor, std::string& scratch, std::string_view& text) {
  if (cursor.peek() != '"') return other_value_fault(cursor, kNotV2);
  std::string_view token;
  bool escaped = false;
  if (!cursor.string(token, escaped)) return json_fault(cursor);
  text = escaped ? decoded_string(token, scratch) : token.substr(1, token.size() - 2);
  return nullptr;
}

// Between two elements of [join_ref, ref, topic, event, payload].
const char* read_comma(JsonCursor& cursor) noexcept {
  const char c = cursor.peek();
  if (c == ']') return kNotV2;
  if (c != ',') return kNotJson;
  cursor.advance();
  return nullptr;
}

const char* read_end(JsonCursor& cursor) noexcept {
  const char c = cursor.peek();
  if (c == ']') {
    cursor.advance();
    return cursor.at_end() ? nullptr : kNotJson;
  }
  if (c != ',') return kNotJson;
  cursor.advance();
  return cursor.at_end() || cursor.peek() == ']' ? kNotJson : kNotV2;  // a sixth element
}

}  // namespace

Decoded Decoder::decode_text(Serializer serializer, std::string_view frame, Message& message, Fault& fault) {
  JsonCursor cursor(frame);
  const char* reason = serializer == Serializer::v1 ? read_v1(cursor, frame.size(), message) : read_v2(cursor, message);
  if ((reason != nullptr || cursor.saw_non_ascii()) && !is_utf8(frame)) reason = kNotUtf8;
  if (reason == nullptr) return Decoded::message;
  fault = {kInvalidPayloadData, reason};
  return Decoded::fault;
}

const char* Decoder::read_v2(JsonCursor& cursor, Message& message) {
  if (cursor.peek() != '[') return other_value_fault(cursor, kNotV2);
  cursor.advance();
  if (cursor.peek() == ']') return kNotV2;

  if (!cursor.value(message.join_ref, 1)) return json_fault(cursor);
  if (const char* reason = read_comma(cursor)) return reason;
  if (!cursor.value(message.ref, 1)) return json_fault(cursor);
  if (const char* reason = read_comma(cursor)) return reason;
  if (const char* reason = read_text(cursor, topic_, message.topic)) return reason;
  if (const char* reason = read_comma(cursor)) return reason;
  if (const char* reason = read_text(cursor, event_, message.event)) return reason;
  if (const char* reason = read_comma(cursor)) return reason;
  if (!cursor.value(message.payload, 1)) return json_fault(cursor);
  if (const char* reason = read_end(cursor)) return reason;

  if (const char* reason = ref_fault(message.join_ref)) return reason;
  return ref_fault(message.ref);
}

namespace {

// The values of the keys that a message of 1.0.0 has, as JSON text; without data where they are missing.
struct MembersV1 {
  std::string_view topic, event, payload, ref, join_ref;

  std::string_view* named(std::string_view key) noexcept {
    if (key == "topic") return &topic;
    if (key == "event") return &event;
    if (key == "payload") return &payload;
    if (key == "ref") return &ref;
    if (key == "join_ref") return &join_ref;
    return nullptr;
  }
};

const char* text_of(std::string_view value, std::string& scratch, std::string_view& text) {
  if (value.data() == nullptr) return kLacksKey;
  if (value.front() != '"') return kNoStrings;
  text = decoded_string(value, scratch);
  return nullptr;
}

}  // namespace

const char* Decoder::read_v1(JsonCursor& cursor, std::size_t frame_size, Message& message) {
  if (cursor.peek() != '{') return other_value_fault(cursor, kNotV1);
  cursor.advance();
  keys_.clear(frame_size);
  MembersV1 members;
  bool repeated = false;
  for (char c = cursor.peek() == '}' ? '}' : ','; c != '}';) {
    std::string_view token;
    std::string_view value;
    bool escaped = false;
    if (cursor.peek() != '"') return kNotJson;
    if (!cursor.string(token, escaped)) return json_fault(cursor);
    if (cursor.peek() != ':') return kNotJson;
    cursor.advance();
    if (!cursor.value(value, 1)) return json_fault(cursor);
    const std::string_view key = keys_.text_of(token, escaped);
    if (std::string_view* const member = members.named(key)) {
      repeated = repeated || member->data() != nullptr;
      *member = value;
    } else {
      keys_.add(key);
    }
    c = cursor.peek();
    if (c == ',') cursor.advance();
    if (c != ',' && c != '}') return kNotJson;
  }
  cursor.advance();
  if (!cursor.at_end()) return kNotJson;

  if (repeated || keys_.any_repeated()) return kKeyTwice;
  if (const char* reason = text_of(members.topic, topic_, message.topic)) return reason;
  if (const char* reason = text_of(members.event, event_, message.event)) return reason;
  if (members.ref.data() == nullptr) return kLacksKey;
  if (const char* reason = ref_fault(members.ref)) return reason;
  if (members.payload.data() == nullptr) return kLacksKey;
  message.ref = members.ref;
  message.payload = members.payload;
  message.join_ref = members.join_ref.data() == nullptr ? "null" : members.join_ref;
  if (const char* reason = ref_fault(message.join_ref)) return reason;
  // Clients that know no join_ref know the channel by the ref of its join.
  if (message.event == "phx_join" && message.join_ref == "null") message.join_ref = message.ref;
  return nullptr;
}

}  // namespace polyglot
