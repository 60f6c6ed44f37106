#include "client_frames.h"

#include <cstring>

namespace polyglot::load {

void append_client_frame(std::string& out, Opcode opcode, std::string_view payload, std::uint32_t mask) {
  const std::size_t size = payload.size();
  out += static_cast<char>(0x80 | static_cast<int>(opcode));
  if (size < 126) {
    out += static_cast<char>(0x80 | size);
  } else if (size < 65536) {
    out += static_cast<char>(0x80 | 126);
    out += static_cast<char>(size >> 8);
    out += static_cast<char>(size & 0xff);
  } else {
    out += static_cast<char>(0x80 | 127);
    for (int shift = 56; shift >= 0; shift -= 8)
      out += static_cast<char>(static_cast<std::uint64_t>(size) >> shift & 0xff);
  }
  char key[4];
  std::memcpy(key, &mask, sizeof key);
  out.append(key, sizeof key);
  const std::size_t begin = out.size();
  out.append(payload);
  char* bytes = out.data() + begin;
  const std::uint64_t wide = std::uint64_t{mask} << 32 | mask;
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    std::uint64_t part;
    std::memcpy(&part, bytes + i, sizeof part);
    part ^= wide;
    std::memcpy(bytes + i, &part, sizeof part);
  }
  for (; i < size; ++i) bytes[i] = static_cast<char>(bytes[i] ^ key[i % 4]);
}

}  // namespace polyglot::load
