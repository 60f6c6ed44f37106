// Where a run of ordinary characters inside a JSON string ends: the inner loop of everything that reads or writes JSON.
// SSE2, which every x86-64 has, 16 bytes a step; elsewhere, and for the last bytes, a table. Never reads beyond `end`.
#pragma once

#include <array>
#include <bit>
#include <cstddef>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace polyglot {

// Bytes that may not stand in a string as themselves: the quote, the backslash, C0 control characters.
inline constexpr std::array<bool, 256> kStringStops = [] {
  std::array<bool, 256> stops{};
  for (std::size_t byte = 0; byte < 0x20; ++byte) stops[byte] = true;
  stops['"'] = stops['\\'] = true;
  return stops;
}();

// The first such byte, or `end`. Sets bits in `high` where a byte of 0x80 or more is among those looked at.
inline const char* find_string_stop_bytewise(const char* at, const char* end, unsigned& high) noexcept {
  while (at != end && !kStringStops[static_cast<unsigned char>(*at)]) {
    high |= static_cast<unsigned char>(*at) & 0x80u;
    ++at;
  }
  return at;
}

inline const char* find_string_stop(const char* at, const char* end, unsigned& high) noexcept {
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  const __m128i last_control = _mm_set1_epi8(0x1f);
  while (end - at >= 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
    const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last_control), bytes);
    const auto stops = static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(marks, controls)));
    high |= static_cast<unsigned>(_mm_movemask_epi8(bytes));  // may be of bytes behind the stop: looked at, too
    if (stops != 0) return at + std::countr_zero(stops);
    at += 16;
  }
#endif
  return find_string_stop_bytewise(at, end, high);
}

}  // namespace polyglot
