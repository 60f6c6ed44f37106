// SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104), for the tokens that the load generator signs by itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace polyglot::load {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  static constexpr std::size_t kBlockBytes = 64;
  void update(std::string_view data);
  Digest finish();

 private:
  void compress(const std::uint8_t* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, kBlockBytes> block_{};
  std::uint64_t size_ = 0;
};

// A key's two padded blocks are hashed once; each message then starts from copies.
class HmacSha256 {
 public:
  explicit HmacSha256(std::string_view key);
  Digest sign(std::string_view message) const;

 private:
  Sha256 inner_;
  Sha256 outer_;
};

}  // namespace polyglot::load
