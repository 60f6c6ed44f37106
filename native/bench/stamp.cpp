#include "stamp.h"

#include <array>
#include <cstring>

namespace polyglot::load {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

constexpr std::array<std::int8_t, 256> kValues = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<std::uint8_t>(kDigits[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}();

void write_hex(char* out, std::uint64_t value, std::size_t digits) {
  for (std::size_t i = digits; i-- > 0; value >>= 4) out[i] = kDigits[value & 15];
}

bool read_hex(std::string_view text, std::uint64_t& value) {
  value = 0;
  int all = 0;
  for (const char c : text) {
    const int digit = kValues[static_cast<std::uint8_t>(c)];
    all |= digit;
    value = value << 4 | static_cast<std::uint64_t>(digit & 15);
  }
  return all >= 0;
}

}  // namespace

void write_stamp(char* out, const Stamp& stamp) {
  std::memcpy(out, kStampMark.data(), kStampMark.size());
  write_hex(out + kStampMark.size(), static_cast<std::uint64_t>(stamp.due_ns), 16);
  write_hex(out + kStampMark.size() + 16, stamp.sender, 8);
}

bool read_stamp(std::string_view text, Stamp& stamp) {
  if (text.size() < kStampBytes || !text.starts_with(kStampMark)) return false;
  std::uint64_t due = 0;
  std::uint64_t sender = 0;
  if (!read_hex(text.substr(kStampMark.size(), 16), due)) return false;
  if (!read_hex(text.substr(kStampMark.size() + 16, 8), sender)) return false;
  stamp = {static_cast<std::int64_t>(due), static_cast<std::uint32_t>(sender)};
  return true;
}

std::size_t StampFinder::find(std::string_view frame, Stamp& stamp) {
  if (from_end_ != 0 && from_end_ <= frame.size()) {
    const std::size_t at = frame.size() - from_end_;
    if (read_stamp(frame.substr(at), stamp)) [[likely]]
      return at;
  }
  const std::size_t at = frame.find(kStampMark);
  if (at == std::string_view::npos || !read_stamp(frame.substr(at), stamp)) return std::string_view::npos;
  from_end_ = frame.size() - at;
  return at;
}

}  // namespace polyglot::load
