#include "base/sha1.h"

#include <bit>
#include <cstddef>
#include <cstring>

namespace polyglot {
namespace {

constexpr std::size_t kBlock = 64;
constexpr std::size_t kLengthAt = 56;  // the last block ends with the length in bits, 8 bytes

std::uint32_t word_at(const unsigned char* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | std::uint32_t{at[3]};
}

void add_block(std::array<std::uint32_t, 5>& state, const unsigned char* block) {
  std::array<std::uint32_t, 80> w;
  for (std::size_t t = 0; t < 16; ++t) w[t] = word_at(block + 4 * t);
  for (std::size_t t = 16; t < 80; ++t) w[t] = std::rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  auto [a, b, c, d, e] = state;
  for (std::size_t t = 0; t < 80; ++t) {
    std::uint32_t f = 0;
    std::uint32_t k = 0;
    if (t < 20) {
      f = (b & c) | (~b & d), k = 0x5A827999;
    } else if (t < 40) {
      f = b ^ c ^ d, k = 0x6ED9EBA1;
    } else if (t < 60) {
      f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
    } else {
      f = b ^ c ^ d, k = 0xCA62C1D6;
    }
    const std::uint32_t next = std::rotl(a, 5) + f + e + k + w[t];
    e = d, d = c, c = std::rotl(b, 30), b = a, a = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

}  // namespace

std::array<char, 20> sha1(std::string_view data) {
  std::array<std::uint32_t, 5> state{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  std::array<unsigned char, kBlock> block;
  std::size_t at = 0;
  for (; data.size() - at >= kBlock; at += kBlock) {
    std::memcpy(block.data(), data.data() + at, kBlock);
    add_block(state, block.data());
  }
  const std::size_t rest = data.size() - at;
  block.fill(0);
  if (rest > 0) std::memcpy(block.data(), data.data() + at, rest);
  block[rest] = 0x80;
  if (rest >= kLengthAt) {  // the length does not fit behind the mark: one more block
    add_block(state, block.data());
    block.fill(0);
  }
  const std::uint64_t bits = std::uint64_t{data.size()} * 8;
  for (std::size_t i = 0; i < 8; ++i) block[kLengthAt + i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
  add_block(state, block.data());

  std::array<char, 20> digest;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<char>(static_cast<unsigned char>(state[i / 4] >> (24 - 8 * (i % 4))));
  }
  return digest;
}

}  // namespace polyglot
