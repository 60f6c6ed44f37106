// How a connection's frames look and travel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "phoenix/message.h"

namespace polyglot {

// A serializer on a socket (WebSocket frames) or taken as mail.
enum class Wire : std::uint8_t { socket_v1, socket_v2, mail_v1, mail_v2, sse, tail };
inline constexpr std::size_t kWires = 6;
inline constexpr std::size_t index_of(Wire wire) { return static_cast<std::size_t>(wire); }
inline constexpr bool is_phoenix(Wire wire) { return wire < Wire::sse; }
inline constexpr bool is_socket(Wire wire) { return wire <= Wire::socket_v2; }
inline constexpr Serializer serializer_of(Wire wire) {
  return wire == Wire::socket_v1 || wire == Wire::mail_v1 ? Serializer::v1 : Serializer::v2;
}

}  // namespace polyglot
