// See key_set.h.
#include "phoenix/key_set.h"

#include <algorithm>

#include "phoenix/json_text.h"

namespace polyglot {

void KeySet::clear(std::size_t text_size) {
  keys_.clear();
  decoded_.clear();
  text_size_ = text_size;
}

std::string_view KeySet::text_of(std::string_view token, bool escaped) {
  if (!escaped) return token.substr(1, token.size() - 2);
  if (decoded_.empty()) decoded_.reserve(text_size_);  // no key is longer decoded than it was escaped
  const std::size_t from = decoded_.size();
  append_decoded_string(decoded_, token);
  return std::string_view(decoded_).substr(from);
}

bool KeySet::any_repeated() {
  if (keys_.size() < 2) return false;
  std::sort(keys_.begin(), keys_.end(), [](std::string_view a, std::string_view b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  return std::adjacent_find(keys_.begin(), keys_.end()) != keys_.end();
}

}  // namespace polyglot
