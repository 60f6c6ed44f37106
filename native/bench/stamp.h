// The mark that a publish carries through any server: when it was due, and who sent it, as 29 characters that need no
// escape in JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace polyglot::load {

inline constexpr std::string_view kStampMark = "@PLG@";
inline constexpr std::size_t kStampBytes = kStampMark.size() + 16 + 8;

struct Stamp {
  std::int64_t due_ns = 0;
  std::uint32_t sender = 0;
};

void write_stamp(char* out, const Stamp& stamp);  // kStampBytes

// False where `text` does not begin with one.
bool read_stamp(std::string_view text, Stamp& stamp);

// Where stamps stand in the frames of a server: nearly always as far from the end as in the frame before, so that is
// where it looks first.
class StampFinder {
 public:
  // Its offset, or npos.
  std::size_t find(std::string_view frame, Stamp& stamp);

 private:
  std::size_t from_end_ = 0;
};

}  // namespace polyglot::load
