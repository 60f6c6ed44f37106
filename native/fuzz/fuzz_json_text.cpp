// Any bytes as JSON text, and as text that becomes JSON. What must hold:
//   - the verdict is that of a checker written down from the grammar of RFC 8259, a character at a time;
//   - a value stays one in an array, in an object and with whitespace around it, and is skipped to its end;
//   - whether bytes are a JSON string is told the same by the check and by the decoder;
//   - UTF-8, escaped, is a JSON string that decodes to itself.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "phoenix/json_text.h"
#include "require.h"

namespace {

using namespace polyglot;

// The grammar, slowly. Half a surrogate pair is an error, as with msgspec; depth and UTF-8 are not looked at.
class Grammar {
 public:
  explicit Grammar(std::string_view text) : text_(text) {}

  bool is_json() {
    space();
    if (!value()) return false;
    space();
    return at_ == text_.size();
  }

  int depth() const { return depth_max_; }

 private:
  bool has(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool has_any(const char* of) const { return at_ < text_.size() && text_[at_] != 0 && std::strchr(of, text_[at_]); }
  bool take(char c) { return has(c) && ++at_ != 0; }
  bool take_any(const char* of) { return has_any(of) && ++at_ != 0; }
  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void space() {
    while (take_any(" \t\r\n")) {
    }
  }

  bool value() {
    if (has('"')) return string();
    if (take('[')) return deeper(&Grammar::elements);
    if (take('{')) return deeper(&Grammar::members);
    return take_word("true") || take_word("false") || take_word("null") || number();
  }

  bool deeper(bool (Grammar::*inside)()) {
    depth_max_ = std::max(depth_max_, ++depth_);
    if (depth_ > 2 * kJsonDepthMax) return false;
    const bool sound = (this->*inside)();
    --depth_;
    return sound;
  }

  bool elements() {
    space();
    if (take(']')) return true;
    do {
      space();
      if (!value()) return false;
      space();
    } while (take(','));
    return take(']');
  }

  bool members() {
    space();
    if (take('}')) return true;
    do {
      space();
      if (!has('"') || !string()) return false;
      space();
      if (!take(':')) return false;
      space();
      if (!value()) return false;
      space();
    } while (take(','));
    return take('}');
  }

  bool number() {
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take_any("eE")) {
      take_any("+-");
      return digits();
    }
    return true;
  }

  bool digits() {
    if (!take_any("0123456789")) return false;
    while (take_any("0123456789")) {
    }
    return true;
  }

  bool string() {
    take('"');
    while (at_ < text_.size() && !has('"')) {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (!take('\\')) {
        ++at_;
      } else if (take('u')) {
        const int unit = code_unit();
        if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff)) return false;
        if (unit < 0xd800 || unit > 0xdbff) continue;
        if (!take_word("\\u")) return false;
        const int low = code_unit();
        if (low < 0xdc00 || low > 0xdfff) return false;
      } else if (!take_any("\"\\/bfnrt")) {
        return false;
      }
    }
    return take('"');
  }

  int code_unit() {
    int unit = 0;
    for (int i = 0; i < 4; ++i) {
      if (!has_any("0123456789abcdefABCDEF")) return -1;
      unit = unit * 16 + std::stoi(std::string(1, text_[at_++]), nullptr, 16);
    }
    return unit;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int depth_max_ = 0;
};

// A character at a time, by its value.
bool is_utf8_slowly(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const unsigned lead = static_cast<unsigned char>(text[at++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc0 || lead > 0xf7) return false;
    unsigned code = lead & (0x3fu >> more);
    for (int i = 0; i < more; ++i) {
      if (at == text.size() || (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80) return false;
      code = code << 6 | (static_cast<unsigned char>(text[at++]) & 0x3fu);
    }
    const unsigned least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
  }
  return true;
}

void check_verdict(std::string_view text) {
  const JsonError verdict = check_json(text);
  REQUIRE(is_utf8(text) == is_utf8_slowly(text));
  REQUIRE(is_utf8(text) == (verdict != JsonError::not_utf8));
  if (verdict == JsonError::not_utf8) return;
  Grammar grammar(text);
  const bool sound = grammar.is_json();
  REQUIRE((verdict == JsonError::too_deep) == (grammar.depth() > kJsonDepthMax));
  if (verdict != JsonError::too_deep) REQUIRE(sound == (verdict == JsonError::none));
}

void check_value(std::string_view text) {
  const std::string value(text);
  std::size_t at = 0;
  REQUIRE(skip_value(text, at) == JsonError::none);
  REQUIRE(text.substr(at).find_first_not_of(" \t\r\n") == std::string_view::npos);
  Grammar grammar(text);
  if (!grammar.is_json() || grammar.depth() == kJsonDepthMax) return;
  REQUIRE(check_json("[" + value + "]") == JsonError::none);
  REQUIRE(check_json("{\"a\":" + value + ",\"a\":" + value + "}") == JsonError::none);
  REQUIRE(check_json("\n" + value + " ") == JsonError::none);
  REQUIRE(check_json(value + ",") == JsonError::not_json);
}

void check_strings(std::string_view text) {
  std::string scratch;
  std::string_view decoded;
  const bool is_string = decode_string(text, scratch, decoded);
  if (is_utf8(text)) {
    REQUIRE(is_string == (text.starts_with('"') && text.ends_with('"') && check_json(text) == JsonError::none));
    if (is_string) REQUIRE(is_utf8(decoded));
  }

  std::string token;
  append_json_string(token, text);
  REQUIRE(decode_string(token, scratch, decoded));
  REQUIRE(decoded == text);
  REQUIRE(check_json(token) == (is_utf8(text) ? JsonError::none : JsonError::not_utf8));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto exact = std::make_unique<char[]>(size);  // of exactly that size: sanitizers see a step beyond
  if (size != 0) std::memcpy(exact.get(), data, size);
  const std::string_view text(exact.get(), size);
  check_verdict(text);
  if (check_json(text) == JsonError::none) check_value(text);
  check_strings(text);
  return 0;
}
