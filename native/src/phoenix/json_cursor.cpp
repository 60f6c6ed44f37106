// See json_cursor.h. Nesting is recursion: kJsonDepthMax bounds it to some 100 KiB of stack.
#include "phoenix/json_cursor.h"

namespace polyglot {

namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

const char* behind_digits(const char* at, const char* end) noexcept {
  while (at != end && is_digit(*at)) ++at;
  return at;
}

int hex_digit(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

char JsonCursor::peek_behind_whitespace() noexcept {
  for (; at_ != end_; ++at_) {
    const char c = *at_;
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
  }
  return '\0';
}

bool JsonCursor::value(int depth) noexcept {
  switch (peek()) {
    case '"': {
      bool escaped = false;
      return string(escaped);
    }
    case '{':
      return object(depth + 1);
    case '[':
      return array(depth + 1);
    case 't':
      return word("true");
    case 'f':
      return word("false");
    case 'n':
      return word("null");
    default:
      return number();
  }
}

bool JsonCursor::object(int depth) noexcept {
  if (depth > kJsonDepthMax) return fail(JsonError::too_deep);
  advance();
  if (peek() == '}') {
    advance();
    return true;
  }
  while (true) {
    bool escaped = false;
    if (peek() != '"') return fail(JsonError::not_json);
    if (!string(escaped)) return false;
    if (peek() != ':') return fail(JsonError::not_json);
    advance();
    if (!value(depth)) return false;
    const char c = peek();
    if (c != ',' && c != '}') return fail(JsonError::not_json);
    advance();
    if (c == '}') return true;
  }
}

bool JsonCursor::array(int depth) noexcept {
  if (depth > kJsonDepthMax) return fail(JsonError::too_deep);
  advance();
  if (peek() == ']') {
    advance();
    return true;
  }
  while (true) {
    if (!value(depth)) return false;  // also after a trailing comma: a bracket is no value
    const char c = peek();
    if (c != ',' && c != ']') return fail(JsonError::not_json);
    advance();
    if (c == ']') return true;
  }
}

// From the first byte on that is not to be taken as itself.
bool JsonCursor::rest_of_string(bool& escaped) noexcept {
  while (at_ != end_) {
    const char c = *at_++;
    if (c == '"') return true;
    if (c != '\\') break;  // a control character
    escaped = true;
    if (!escape()) return false;
    at_ = find_string_stop(at_, end_, high_);
  }
  return fail(JsonError::not_json);
}

// What follows a backslash.
bool JsonCursor::escape() noexcept {
  if (at_ == end_) return fail(JsonError::not_json);
  switch (*at_++) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
      return true;
    case 'u':
      break;
    default:
      return fail(JsonError::not_json);
  }
  unsigned unit = 0;
  if (!unicode_escape(unit)) return false;
  if (unit < 0xd800 || unit > 0xdfff) return true;
  // Half a surrogate pair: the other half must follow, as an escape too.
  if (unit > 0xdbff || end_ - at_ < 6 || at_[0] != '\\' || at_[1] != 'u') return fail(JsonError::not_json);
  at_ += 2;
  if (!unicode_escape(unit)) return false;
  return (unit >= 0xdc00 && unit <= 0xdfff) || fail(JsonError::not_json);
}

bool JsonCursor::unicode_escape(unsigned& unit) noexcept {
  if (end_ - at_ < 4) return fail(JsonError::not_json);
  unit = 0;
  for (int i = 0; i < 4; ++i) {
    const int digit = hex_digit(*at_++);
    if (digit < 0) return fail(JsonError::not_json);
    unit = unit << 4 | static_cast<unsigned>(digit);
  }
  return true;
}

bool JsonCursor::word(std::string_view expected) noexcept {
  const auto left = static_cast<std::size_t>(end_ - at_);
  if (!std::string_view(at_, left).starts_with(expected)) return fail(JsonError::not_json);
  at_ += expected.size();
  return true;
}

// RFC 8259, 6. Whatever begins no other value ends up here and has no digit.
bool JsonCursor::number() noexcept {
  const char* at = at_;
  if (at != end_ && *at == '-') ++at;
  const char* const first = at;
  at = behind_digits(at, end_);
  bool sound = at != first && (*first != '0' || at - first == 1);
  if (sound && at != end_ && *at == '.') {
    const char* const fraction = ++at;
    at = behind_digits(at, end_);
    sound = at != fraction;
  }
  if (sound && at != end_ && (*at == 'e' || *at == 'E')) {
    ++at;
    if (at != end_ && (*at == '+' || *at == '-')) ++at;
    const char* const exponent = at;
    at = behind_digits(at, end_);
    sound = at != exponent;
  }
  at_ = at;
  return sound || fail(JsonError::not_json);
}

}  // namespace polyglot
