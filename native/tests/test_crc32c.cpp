#include <string>

#include "base/crc32c.h"
#include "check.h"
#include "record_checker.h"

using polyglot::crc32c;
using polyglot::crc32c_portable;

TEST("a CRC-32C is what RFC 3720 (B.4) and others publish") {
  CHECK_EQ(crc32c(""), 0u);
  CHECK_EQ(crc32c("123456789"), 0xe3069283u);
  CHECK_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  CHECK_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string rising;
  for (char byte = 0; byte < 32; ++byte) rising.push_back(byte);
  CHECK_EQ(crc32c(rising), 0x46dd794eu);
}

TEST("the instruction, the tables and the definition agree at every length and alignment") {
  std::string bytes;
  std::uint32_t state = 1;
  for (int n = 0; n < 600; ++n) {
    state = state * 1664525 + 1013904223;
    bytes.push_back(static_cast<char>(state >> 24));
  }
  for (std::size_t start = 0; start < 9; ++start) {
    for (std::size_t size = 0; size < 300; ++size) {
      const std::string_view part = std::string_view(bytes).substr(start, size);
      const std::uint32_t expected = check::plain_crc32c(part);
      CHECK_EQ(crc32c(part), expected);
      CHECK_EQ(crc32c_portable(part), expected);
    }
  }
}
