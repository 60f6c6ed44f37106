// The head of one client's frame (RFC 6455, 5.2). Pure; called by FrameReader alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "websocket/frame_writer.h"

namespace polyglot {

inline constexpr std::uint16_t kProtocolError = 1002;
inline constexpr std::uint16_t kInvalidData = 1007;
inline constexpr std::uint16_t kTooBig = 1009;
inline constexpr std::uint16_t kNoStatus = 1005;  // never on the wire: a close frame without a code

inline constexpr std::size_t kClientHeadBytesMax = 14;  // with a length of eight bytes, and the mask

struct FrameHead {
  bool fin = false;
  Opcode opcode = Opcode::continuation;
  std::uint32_t mask = 0;  // as it lies on the wire
  std::uint64_t size = 0;  // of the payload
};

inline bool is_control(Opcode opcode) { return opcode >= Opcode::close; }

enum class HeadRead { whole, more, fault };

// Whole: `length` is how many bytes of `data` the head took. Fault: `reason` says which rule was broken, a literal;
// told as soon as it shows, even where the head is not whole.
HeadRead read_head(std::string_view data, FrameHead& head, std::size_t& length, std::string_view& reason);

}  // namespace polyglot
