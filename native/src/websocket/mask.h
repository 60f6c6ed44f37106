// The masking of a client's payload (RFC 6455, 5.3), in place: the same call masks and unmasks. Called by FrameReader
// for every message, so 16 bytes a step where the processor can.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace polyglot {

// The key as it lies on the wire. `offset`: how much of the frame's payload came before `data`.
inline void apply_mask(char* data, std::size_t size, std::uint32_t key, std::size_t offset = 0) {
  const int turn = static_cast<int>(offset % 4) * 8;
  const std::uint32_t key4 = std::endian::native == std::endian::little ? std::rotr(key, turn) : std::rotl(key, turn);
  const std::uint64_t key8 = std::uint64_t{key4} << 32 | key4;
  std::size_t at = 0;
#if defined(__SSE2__)
  const __m128i key16 = _mm_set1_epi32(static_cast<int>(key4));
  for (; size - at >= 16; at += 16) {
    auto* const place = reinterpret_cast<__m128i*>(data + at);
    _mm_storeu_si128(place, _mm_xor_si128(_mm_loadu_si128(place), key16));
  }
#endif
  for (; size - at >= 8; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + at, 8);
    word ^= key8;
    std::memcpy(data + at, &word, 8);
  }
  char key_bytes[4];
  std::memcpy(key_bytes, &key4, 4);
  for (std::size_t i = 0; at + i < size; ++i) data[at + i] = static_cast<char>(data[at + i] ^ key_bytes[i % 4]);
}

}  // namespace polyglot
