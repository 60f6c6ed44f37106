#include "websocket/frame_writer.h"

namespace polyglot {
namespace {

constexpr unsigned kFin = 0x80;
constexpr std::size_t kLength16 = 126;
constexpr std::size_t kLength64 = 127;
constexpr std::size_t kReasonBytesMax = 123;  // a control frame has 125 bytes, the code takes two (5.5)
constexpr std::uint16_t kNoStatus = 1005;

char byte(std::size_t value) { return static_cast<char>(static_cast<unsigned char>(value & 0xFF)); }

// `text` without what does not fit, nor half a character at its end.
std::string_view cut(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t size = bytes_max;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

}  // namespace

std::size_t write_frame_head(char* head, Opcode opcode, std::size_t size) {
  head[0] = byte(kFin | static_cast<unsigned>(opcode));
  if (size < kLength16) {
    head[1] = byte(size);
    return 2;
  }
  const std::size_t length_bytes = size < 1 << 16 ? 2 : 8;
  head[1] = byte(length_bytes == 2 ? kLength16 : kLength64);
  for (std::size_t i = 0; i < length_bytes; ++i) head[2 + i] = byte(size >> 8 * (length_bytes - 1 - i));
  return 2 + length_bytes;
}

void append_frame(std::string& out, Opcode opcode, std::string_view data) {
  char head[kFrameHeadBytesMax];
  out.append(head, write_frame_head(head, opcode, data.size()));
  out.append(data);
}

void append_close(std::string& out, std::uint16_t code, std::string_view reason) {
  if (code == kNoStatus) {
    append_frame(out, Opcode::close, {});
    return;
  }
  reason = cut(reason, kReasonBytesMax);
  char head[kFrameHeadBytesMax];
  out.append(head, write_frame_head(head, Opcode::close, 2 + reason.size()));
  out += byte(code >> 8);
  out += byte(code);
  out.append(reason);
}

}  // namespace polyglot
