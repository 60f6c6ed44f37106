// Numbers with a time each, the soonest first. Who has moved on meanwhile is found out when its time comes, and goes in
// again with the new one: no entry is ever looked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace polyglot {

struct Due {
  std::uint64_t id = 0;
  std::int64_t at_us = 0;
};

class Deadlines {
 public:
  bool empty() const { return heap_.empty(); }
  const Due& front() const { return heap_.front(); }
  void push(const Due& due) {
    heap_.push_back(due);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  void pop() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
  }

 private:
  // Of those due at once the lower number: what is decided here is the same in every run.
  static bool later(const Due& one, const Due& other) {
    return one.at_us != other.at_us ? one.at_us > other.at_us : one.id > other.id;
  }

  std::vector<Due> heap_;
};

}  // namespace polyglot
