// See json_cursor.h. Nesting is recursion: kJsonDepthMax bounds it to some 100 KiB of stack.
#include "phoenix/json_cursor.h"

namespace polyglot {

namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

int hex_digit(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

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

bool JsonCursor::string(std::string_view& token, bool& escaped) noexcept {
  const char* const from = at_;
  escaped = false;
  if (!string(escaped)) return false;
  token = {from, static_cast<std::size_t>(at_ - from)};
  return true;
}

bool JsonCursor::string(bool& escaped) noexcept {
  ++at_;
  while (true) {
    at_ = find_string_stop(at_, end_, high_);
    if (at_ == end_) return fail(JsonError::not_json);
    const char c = *at_++;
    if (c == '"') return true;
    if (c != '\\') return fail(JsonError::not_json);  // a control character
    escaped = true;
    if (!escape()) return false;
  }
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
  if (at_ != end_ && *at_ == '-') ++at_;
  const char* const first = at_;
  if (!digits()) return false;
  if (*first == '0' && at_ - first > 1) return fail(JsonError::not_json);
  if (at_ != end_ && *at_ == '.') {
    ++at_;
    if (!digits()) return false;
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!digits()) return false;
  }
  return true;
}

// At least one.
bool JsonCursor::digits() noexcept {
  const char* const from = at_;
  while (at_ != end_ && is_digit(*at_)) ++at_;
  return at_ != from || fail(JsonError::not_json);
}

}  // namespace polyglot
