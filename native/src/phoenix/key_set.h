// The keys of one object, kept until its end to see whether one is repeated. Used by `Decoder` and `ContentReader` for
// keys that they don't know themselves: a client may send any, so thousands of them must not cost their square.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace polyglot {

class KeySet {
 public:
  // Begins another object; `text_size`: of the text it is in.
  void clear(std::size_t text_size);
  // A key's token as text: a view into the token, or decoded. Valid until `clear`.
  std::string_view text_of(std::string_view token, bool escaped);
  void add(std::string_view key) { keys_.push_back(key); }
  // Whether one was added twice. Changes their order.
  bool any_repeated();

 private:
  std::vector<std::string_view> keys_;
  std::string decoded_;  // never grows beyond what it reserved, so that views stay valid
  std::size_t text_size_ = 0;
};

}  // namespace polyglot
