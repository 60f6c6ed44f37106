// JSON strings to text and back. Part of json_text.h.
#include "phoenix/json_cursor.h"
#include "phoenix/json_text.h"

namespace polyglot {

namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

char* put_utf8(char* out, unsigned code) noexcept {
  const auto continuation = [](unsigned bits) { return static_cast<char>(0x80u | (bits & 0x3fu)); };
  if (code < 0x80) {
    *out++ = static_cast<char>(code);
  } else if (code < 0x800) {
    *out++ = static_cast<char>(0xc0u | code >> 6);
    *out++ = continuation(code);
  } else if (code < 0x10000) {
    *out++ = static_cast<char>(0xe0u | code >> 12);
    *out++ = continuation(code >> 6);
    *out++ = continuation(code);
  } else {
    *out++ = static_cast<char>(0xf0u | code >> 18);
    *out++ = continuation(code >> 12);
    *out++ = continuation(code >> 6);
    *out++ = continuation(code);
  }
  return out;
}

// Four hexadecimal digits.
unsigned unit_at(const char* at) noexcept {
  unsigned unit = 0;
  for (int i = 0; i < 4; ++i) {
    const auto c = static_cast<unsigned>(at[i]);
    unit = unit << 4 | (c <= '9' ? c - '0' : (c | 0x20u) - 'a' + 10);
  }
  return unit;
}

char escaped_by(char letter) noexcept {
  switch (letter) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return letter;  // the quote, the backslash, the slash
  }
}

char letter_for(char c) noexcept {
  switch (c) {
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    case '"':
    case '\\':
      return c;
    default:
      return 'u';
  }
}

}  // namespace

void append_decoded_string(std::string& out, std::string_view token) {
  const char* at = token.data() + 1;
  const char* const end = token.data() + token.size() - 1;
  unsigned high = 0;
  while (true) {
    const char* const stop = find_string_stop(at, end, high);
    out.append(at, stop);
    if (stop == end) return;
    at = stop + 2;
    if (stop[1] != 'u') {
      out.push_back(escaped_by(stop[1]));
      continue;
    }
    unsigned code = unit_at(at);
    at += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
      code = 0x10000 + ((code - 0xd800) << 10 | (unit_at(at + 2) - 0xdc00));
      at += 6;
    }
    char character[4];
    out.append(character, put_utf8(character, code));
  }
}

std::string_view decoded_string(std::string_view token, std::string& scratch) {
  const std::string_view inside = token.substr(1, token.size() - 2);
  if (inside.find('\\') == std::string_view::npos) return inside;
  scratch.clear();
  append_decoded_string(scratch, token);
  return scratch;
}

bool decode_string(std::string_view token, std::string& scratch, std::string_view& text) {
  JsonCursor cursor(token);
  std::string_view whole;
  bool escaped = false;
  if (!token.starts_with('"') || !cursor.string(whole, escaped) || whole.size() != token.size()) return false;
  text = decoded_string(token, scratch);
  return true;
}

void append_json_string(std::string& out, std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  unsigned high = 0;
  out.push_back('"');
  while (true) {
    const char* const stop = find_string_stop(at, end, high);
    out.append(at, stop);
    if (stop == end) break;
    const char letter = letter_for(*stop);
    out.push_back('\\');
    out.push_back(letter);
    if (letter == 'u') {
      const auto byte = static_cast<unsigned char>(*stop);
      const char digits[] = {'0', '0', kHexDigits[byte >> 4], kHexDigits[byte & 15]};
      out.append(digits, sizeof digits);
    }
    at = stop + 1;
  }
  out.push_back('"');
}

}  // namespace polyglot
