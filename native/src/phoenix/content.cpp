// See content.h. What is wrong is told in the reference's order: an object, no repeated key, `type` and `id` strings,
// `type` there, `type` well formed, `id` well formed.
#include "phoenix/content.h"

#include <array>
#include <cstdint>

#include "phoenix/json_cursor.h"

namespace polyglot {

namespace {

constexpr std::size_t kNameBytesMax = 64;

// Which characters types and ids are made of.
constexpr std::uint8_t kOfType = 1, kOfId = 2, kLetterOrDigit = 4;
constexpr std::array<std::uint8_t, 256> kCharacters = [] {
  std::array<std::uint8_t, 256> characters{};
  for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")) {
    characters[static_cast<unsigned char>(c)] = kOfType | kOfId | kLetterOrDigit;
  }
  for (const char c : std::string_view("_-.:")) characters[static_cast<unsigned char>(c)] = kOfType | kOfId;
  characters['/'] = kOfType;
  return characters;
}();

bool is_type(std::string_view text) noexcept {
  if (text.empty() || text.size() > kNameBytesMax) return false;
  unsigned all = kOfType;
  for (const char c : text) all &= kCharacters[static_cast<unsigned char>(c)];
  return all != 0;
}

bool is_event_id(std::string_view text) noexcept {
  if (text.empty() || text.size() > kNameBytesMax || text.starts_with("evt_")) return false;
  unsigned all = kOfId;
  unsigned any = 0;
  for (const char c : text) {
    all &= kCharacters[static_cast<unsigned char>(c)];
    any |= kCharacters[static_cast<unsigned char>(c)];
  }
  return all != 0 && (any & kLetterOrDigit) != 0;
}

bool refuse(Refusal& refusal, std::string_view field, std::string_view message) {
  refusal = {.reason = "invalid", .message = std::string(message), .field = field};
  return false;
}

// The values of the keys that are ours, as JSON text; without data where they are missing.
struct Members {
  std::string_view type, data, id;

  std::string_view* named(std::string_view key) noexcept {
    if (key == "type") return &type;
    if (key == "data") return &data;
    if (key == "id") return &id;
    return nullptr;
  }
};

enum class Read { members, no_object, repeated_key };

Read read_members(std::string_view payload, KeySet& keys, Members& members) {
  JsonCursor cursor(payload);
  if (cursor.peek() != '{') return Read::no_object;
  cursor.advance();
  keys.clear(payload.size());
  bool repeated = false;
  for (char c = cursor.peek() == '}' ? '}' : ','; c != '}';) {
    std::string_view token;
    std::string_view value;
    bool escaped = false;
    // None of these fails for a payload that is JSON; a caller that gives another one is not to crash.
    if (cursor.peek() != '"' || !cursor.string(token, escaped) || cursor.peek() != ':') return Read::no_object;
    cursor.advance();
    if (!cursor.value(value, 1)) return Read::no_object;
    const std::string_view key = keys.text_of(token, escaped);
    if (std::string_view* const member = members.named(key)) {
      repeated = repeated || member->data() != nullptr;
      *member = value;
    } else {
      keys.add(key);
    }
    c = cursor.peek();
    if (c != ',' && c != '}') return Read::no_object;
    cursor.advance();
  }
  return repeated || keys.any_repeated() ? Read::repeated_key : Read::members;
}

// A string or null, as text; without data where it is null or missing. False: another value.
bool read_text(std::string_view value, std::string& scratch, std::string_view& text) {
  text = {};
  if (value.data() == nullptr || value == "null") return true;
  if (value.front() != '"') return false;
  text = decoded_string(value, scratch);
  return true;
}

}  // namespace

bool ContentReader::read(std::string_view payload, Content& content, Refusal& refusal) {
  Members members;
  switch (read_members(payload, keys_, members)) {
    case Read::no_object:
      return refuse(refusal, "payload", "the payload is an object {type, data, id?}");
    case Read::repeated_key:
      return refuse(refusal, "payload", "a key is repeated");
    case Read::members:
      break;
  }
  if (!read_text(members.type, type_, content.type)) return refuse(refusal, "type", "type is a string");
  if (!read_text(members.id, id_, content.id)) return refuse(refusal, "id", "id is a string");
  if (content.type.data() == nullptr) return refuse(refusal, "type", "type is missing");
  if (!is_type(content.type)) return refuse(refusal, "type", "a type is 1 to 64 of A-Z a-z 0-9 _ - . : /");
  if (content.id.data() != nullptr && !is_event_id(content.id)) {
    return refuse(refusal, "id",
                  "an id is 1 to 64 of A-Z a-z 0-9 _ - . :, holds a letter or digit and does not begin with evt_");
  }
  content.data = members.data.data() == nullptr ? "null" : members.data;
  return true;
}

}  // namespace polyglot
