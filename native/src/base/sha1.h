// SHA-1 (RFC 3174), for the accept key of a WebSocket's handshake alone: it protects nothing there.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace polyglot {

std::array<char, 20> sha1(std::string_view data);

}  // namespace polyglot
