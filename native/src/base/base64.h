// Base64 with the standard alphabet and padding (RFC 4648, 4).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace polyglot {

std::string base64_encode(std::string_view data);

// How many bytes `text` holds; none where it is not base64. Strict: padded, and nothing but the alphabet. The unused
// bits of the last digit may be set, as Python's decoder has it.
std::optional<std::size_t> base64_decoded_size(std::string_view text);

}  // namespace polyglot
