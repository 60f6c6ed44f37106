#include "websocket/frame_head.h"

#include <cstring>

namespace polyglot {
namespace {

constexpr unsigned kFin = 0x80;
constexpr unsigned kReserved = 0x70;
constexpr unsigned kOpcode = 0x0F;
constexpr unsigned kMasked = 0x80;
constexpr unsigned kLength = 0x7F;
constexpr unsigned kLength16 = 126;
constexpr unsigned kControlBytesMax = 125;
constexpr std::size_t kMaskBytes = 4;

constexpr std::string_view kNotShortest = "a length is in its shortest form (RFC 6455, 5.2)";

bool is_opcode(unsigned value) { return value <= 2 || (value >= 8 && value <= 10); }

std::uint64_t number(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

HeadRead read_head(std::string_view data, FrameHead& head, std::size_t& length, std::string_view& reason) {
  if (data.size() < 2) return HeadRead::more;
  const unsigned first = static_cast<unsigned char>(data[0]);
  const unsigned second = static_cast<unsigned char>(data[1]);
  const auto broken = [&reason](std::string_view rule) {
    reason = rule;
    return HeadRead::fault;
  };
  if (first & kReserved) return broken("a reserved bit is set (RFC 6455, 5.2)");
  if (!is_opcode(first & kOpcode)) return broken("unknown opcode (RFC 6455, 5.2)");
  if (!(second & kMasked)) return broken("a client's frame must be masked (RFC 6455, 5.1)");
  head.fin = (first & kFin) != 0;
  head.opcode = static_cast<Opcode>(first & kOpcode);
  head.size = second & kLength;
  if (is_control(head.opcode) && (!head.fin || head.size > kControlBytesMax)) {
    return broken("a control frame is whole and has at most 125 bytes (RFC 6455, 5.5)");
  }
  std::size_t at = 2;
  if (head.size >= kLength16) {
    const std::size_t length_bytes = head.size == kLength16 ? 2 : 8;
    at += length_bytes;
    if (data.size() < at) return HeadRead::more;
    head.size = number(data.substr(2, length_bytes));
    if (head.size < (length_bytes == 2 ? kLength16 : 1u << 16) || head.size >> 63 != 0) return broken(kNotShortest);
  }
  if (data.size() < at + kMaskBytes) return HeadRead::more;
  std::memcpy(&head.mask, data.data() + at, kMaskBytes);
  length = at + kMaskBytes;
  return HeadRead::whole;
}

}  // namespace polyglot
