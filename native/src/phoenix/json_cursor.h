// A place in JSON text that moves on over whole tokens and values, checking the grammar on its way; the decoders of
// this folder are loops around it. It takes what msgspec's `Raw` takes: escapes of half a surrogate pair are no JSON,
// numbers are not looked at beyond their grammar. It doesn't check UTF-8: `saw_non_ascii` says whether there is reason
// to. Almost all text has no whitespace and few escapes, which is what is inline here.
#pragma once

#include <string_view>

#include "phoenix/json_text.h"
#include "phoenix/string_scan.h"

namespace polyglot {

class JsonCursor {
 public:
  explicit JsonCursor(std::string_view text) noexcept : at_(text.data()), end_(text.data() + text.size()) {}

  // The next byte that is no whitespace, not taken. 0 at the end; a NUL byte looks the same and is no JSON either.
  char peek() noexcept {
    if (at_ != end_ && static_cast<unsigned char>(*at_) > ' ') return *at_;
    return peek_behind_whitespace();
  }

  // Takes what `peek` showed.
  void advance() noexcept { ++at_; }

  bool at_end() noexcept { return peek() == '\0' && at_ == end_; }

  const char* at() const noexcept { return at_; }

  // These move over one token or value, at which `peek` stands; false: `error` says why. `depth`: of brackets around
  // it. A string's token has its quotes.
  bool string(std::string_view& token, bool& escaped) noexcept {
    const char* const from = at_;
    escaped = false;
    if (!string(escaped)) return false;
    token = {from, static_cast<std::size_t>(at_ - from)};
    return true;
  }
  bool value(int depth) noexcept;
  bool value(std::string_view& text, int depth) noexcept {
    peek();
    const char* const from = at_;
    if (!value(depth)) return false;
    text = {from, static_cast<std::size_t>(at_ - from)};
    return true;
  }

  JsonError error() const noexcept { return error_; }
  bool saw_non_ascii() const noexcept { return high_ != 0; }  // outside of strings there is none

 private:
  char peek_behind_whitespace() noexcept;
  bool string(bool& escaped) noexcept {
    at_ = find_string_stop(at_ + 1, end_, high_);
    if (at_ == end_ || *at_ != '"') return rest_of_string(escaped);
    ++at_;
    return true;
  }
  bool rest_of_string(bool& escaped) noexcept;
  bool escape() noexcept;
  bool unicode_escape(unsigned& unit) noexcept;
  bool object(int depth) noexcept;
  bool array(int depth) noexcept;
  bool word(std::string_view expected) noexcept;
  bool number() noexcept;
  bool fail(JsonError error) noexcept {
    error_ = error;
    return false;
  }

  const char* at_;
  const char* end_;
  unsigned high_ = 0;
  JsonError error_ = JsonError::none;
};

}  // namespace polyglot
