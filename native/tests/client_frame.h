// A client's frames for tests and fuzzers: masked byte by byte, by the letter of RFC 6455, 5.3.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace polyglot::testing {

inline constexpr std::string_view kMask("\x01\x82\x03\xf4", 4);

inline std::string masked(std::string_view data, std::string_view mask = kMask) {
  std::string out(data);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(out[i] ^ mask[i % 4]);
  return out;
}

// `first`: the byte with FIN, the reserved bits and the opcode.
inline std::string client_head(unsigned first, std::size_t size, std::string_view mask = kMask) {
  const std::size_t length_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
  std::string out;
  out += static_cast<char>(first);
  out += static_cast<char>(0x80 | (length_bytes == 0 ? size : length_bytes == 2 ? 126u : 127u));
  for (std::size_t i = length_bytes; i-- > 0;) out += static_cast<char>(size >> (8 * i) & 0xff);
  return out.append(mask);
}

inline std::string client_frame(unsigned first, std::string_view data, std::string_view mask = kMask) {
  return client_head(first, data.size(), mask) + masked(data, mask);
}

}  // namespace polyglot::testing
