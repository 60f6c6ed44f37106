// Frames from server to client: unmasked, whole (RFC 6455, 5.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace polyglot {

enum class Opcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

inline constexpr std::size_t kFrameHeadBytesMax = 10;

// Writes the head of a frame of `size` bytes to `head` (kFrameHeadBytesMax of room); its length.
std::size_t write_frame_head(char* head, Opcode opcode, std::size_t size);
void append_frame(std::string& out, Opcode opcode, std::string_view data);
// Code 1005: a close frame without a code. The reason is cut to what fits, at a character's border.
void append_close(std::string& out, std::uint16_t code, std::string_view reason);

}  // namespace polyglot
