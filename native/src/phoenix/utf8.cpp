// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Part of json_text.h.
#include <cstdint>
#include <cstring>

#include "phoenix/json_text.h"

namespace polyglot {

namespace {

bool is_continuation(unsigned char byte) noexcept { return (byte & 0xc0) == 0x80; }

// The size of the character of more than one byte that begins at `at`; 0 where it is none.
std::size_t character_size(const unsigned char* at, std::size_t left) noexcept {
  const unsigned char lead = at[0];
  if (lead < 0xc2 || lead > 0xf4 || left < 2) return 0;  // c0, c1: overlong
  if (lead < 0xe0) return is_continuation(at[1]) ? 2 : 0;
  // The second byte's range is narrower after some leads: overlong forms, surrogates, the end of Unicode.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (at[1] < low || at[1] > high || left < 3 || !is_continuation(at[2])) return 0;
  if (lead < 0xf0) return 3;
  return left >= 4 && is_continuation(at[3]) ? 4 : 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const unsigned char* const end = at + text.size();
  while (at != end) {
    if (*at < 0x80) {
      ++at;
      std::uint64_t eight = 0;
      while (end - at >= 8) {
        std::memcpy(&eight, at, sizeof eight);
        if ((eight & 0x8080808080808080u) != 0) break;
        at += 8;
      }
      continue;
    }
    const std::size_t size = character_size(at, static_cast<std::size_t>(end - at));
    if (size == 0) return false;
    at += size;
  }
  return true;
}

}  // namespace polyglot
