// How a test's tool and pytest speak: requests on stdin, answers on stdout, in the same order. Both are messages: the
// number of fields, then each field's size and bytes (numbers: 4 bytes, little-endian). The first field of a request
// names a function of the tool; numbers in fields are decimal.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace tool {

using Fields = std::vector<std::string>;
using Functions = std::map<std::string, Fields (*)(const Fields&)>;

inline bool read_number(std::uint32_t& number) {
  unsigned char bytes[4];
  if (std::fread(bytes, 1, sizeof bytes, stdin) != sizeof bytes) return false;
  number = bytes[0] | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 | std::uint32_t{bytes[3]} << 24;
  return true;
}

inline void write_number(std::size_t number) {
  for (int shift = 0; shift < 32; shift += 8) std::putchar(static_cast<int>(number >> shift & 0xff));
}

inline bool read_fields(Fields& fields) {
  std::uint32_t count = 0;
  if (!read_number(count)) return false;
  fields.assign(count, {});
  for (std::string& field : fields) {
    std::uint32_t size = 0;
    if (!read_number(size)) return false;
    field.resize(size);
    if (std::fread(field.data(), 1, size, stdin) != size) return false;
  }
  return true;
}

inline void write_fields(const Fields& fields) {
  write_number(fields.size());
  for (const std::string& field : fields) {
    write_number(field.size());
    std::fwrite(field.data(), 1, field.size(), stdout);
  }
  std::fflush(stdout);
}

// Until the end of stdin.
inline int serve(const Functions& functions) {
  Fields request;
  while (read_fields(request)) write_fields(functions.at(request.at(0))(request));
  return 0;
}

}  // namespace tool
