// See key_set.h.
#include "phoenix/key_set.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "phoenix/json_text.h"

namespace polyglot {

namespace {

constexpr std::size_t kStepsMax = 8;  // a key, on average; a table that is at most half full needs less than one

}  // namespace

void KeySet::clear(std::size_t text_size) {
  keys_.clear();
  decoded_.clear();
  text_size_ = text_size;
}

std::string_view KeySet::decoded(std::string_view token) {
  if (decoded_.empty()) decoded_.reserve(text_size_);  // no key is longer decoded than it was escaped
  const std::size_t from = decoded_.size();
  append_decoded_string(decoded_, token);
  return std::string_view(decoded_).substr(from);
}

bool KeySet::find_repeated() {
  const std::size_t mask = std::bit_ceil(keys_.size() * 2) - 1;
  table_.assign(mask + 1, 0);
  // Keys may be chosen so that their hashes meet: then sorting them is what costs the least.
  std::size_t steps_left = keys_.size() * kStepsMax;
  for (std::uint32_t place = 1; place <= keys_.size(); ++place) {
    const std::string_view key = keys_[place - 1];
    std::size_t slot = std::hash<std::string_view>()(key) & mask;
    for (; table_[slot] != 0; slot = (slot + 1) & mask) {
      if (keys_[table_[slot] - 1] == key) return true;
      if (--steps_left == 0) return find_repeated_by_order();
    }
    table_[slot] = place;
  }
  return false;
}

bool KeySet::find_repeated_by_order() {
  std::sort(keys_.begin(), keys_.end(),
            [](std::string_view a, std::string_view b) { return a.size() != b.size() ? a.size() < b.size() : a < b; });
  return std::adjacent_find(keys_.begin(), keys_.end()) != keys_.end();
}

}  // namespace polyglot
