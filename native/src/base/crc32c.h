// CRC-32C (Castagnoli), the checksum of log records. The processor's own instruction where it has one (SSE 4.2, asked
// at load), tables where not; both give the same. Called by log/record.cpp and by tests.
#pragma once

#include <cstdint>
#include <string_view>

namespace polyglot {

// Of all the bytes, from nothing. Of no bytes: 0.
std::uint32_t crc32c(std::string_view bytes) noexcept;

// What runs where the instruction is missing. For tests.
std::uint32_t crc32c_portable(std::string_view bytes) noexcept;

}  // namespace polyglot
