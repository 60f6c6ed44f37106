// The keys of one object, kept until its end to see whether one is repeated. Used by `Decoder` and `ContentReader` for
// keys that they don't know themselves: a client may send any, so thousands of them must not cost their square.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace polyglot {

class KeySet {
 public:
  // Begins another object; `text_size`: of the text it is in.
  void clear(std::size_t text_size);
  // A key's token as text: a view into the token, or decoded. Valid until `clear`.
  std::string_view text_of(std::string_view token, bool escaped) {
    return escaped ? decoded(token) : token.substr(1, token.size() - 2);
  }
  void add(std::string_view key) { keys_.push_back(key); }
  // Whether one was added twice. Changes their order.
  bool any_repeated() { return keys_.size() > 1 && find_repeated(); }

 private:
  std::string_view decoded(std::string_view token);
  bool find_repeated();
  bool find_repeated_by_order();

  std::vector<std::string_view> keys_;
  std::vector<std::uint32_t> table_;  // places in `keys_` from 1 on, by the keys' hashes; 0: free
  std::string decoded_;  // never grows beyond what it reserved, so that views stay valid
  std::size_t text_size_ = 0;
};

}  // namespace polyglot
