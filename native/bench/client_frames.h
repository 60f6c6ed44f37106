// RFC 6455 framing, the client's side: masked frames out, unmasked frames in. Without I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace polyglot::load {

enum class Opcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

// Appends one whole frame. `mask`: 32 random bits, new for each frame (5.3).
void append_client_frame(std::string& out, Opcode opcode, std::string_view payload, std::uint32_t mask);

struct ServerFrame {
  Opcode opcode = Opcode::text;
  std::string_view payload;
};

enum class FrameResult { frame, need_more, fault };

// Takes the next frame off `data`. `fault`: masked, with reserved bits, or fragmented, which the servers measured here
// never send.
inline FrameResult take_frame(std::string_view& data, ServerFrame& frame) {
  if (data.size() < 2) return FrameResult::need_more;
  const auto byte = [data](std::size_t i) { return static_cast<std::uint8_t>(data[i]); };
  const std::uint8_t first = byte(0);
  std::size_t head = 2;
  std::uint64_t size = byte(1);
  if ((first & 0xf0) != 0x80 || (first & 0x0f) == 0 || size > 127) return FrameResult::fault;
  if (size == 126) {
    head = 4;
    if (data.size() < head) return FrameResult::need_more;
    size = static_cast<std::uint64_t>(byte(2) << 8 | byte(3));
  } else if (size == 127) {
    head = 10;
    if (data.size() < head) return FrameResult::need_more;
    size = 0;
    for (std::size_t i = 2; i < 10; ++i) size = size << 8 | byte(i);
    if (size > 1u << 30) return FrameResult::fault;
  }
  if (data.size() - head < size) return FrameResult::need_more;
  frame = {static_cast<Opcode>(first & 0x0f), data.substr(head, size)};
  data.remove_prefix(head + size);
  return FrameResult::frame;
}

}  // namespace polyglot::load
