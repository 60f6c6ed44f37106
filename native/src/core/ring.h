// A queue in one growing block: no memory while it was never used, none per element.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace polyglot {

template <typename T>
class Ring {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t at) { return slots_[(first_ + at) & (slots_.size() - 1)]; }
  const T& operator[](std::size_t at) const { return slots_[(first_ + at) & (slots_.size() - 1)]; }
  T& front() { return (*this)[0]; }
  const T& front() const { return (*this)[0]; }
  T& back() { return (*this)[size_ - 1]; }
  const T& back() const { return (*this)[size_ - 1]; }

  T& push_back(T value) {
    if (size_ == slots_.size()) grow();
    T& slot = slots_[(first_ + size_) & (slots_.size() - 1)];
    slot = std::move(value);
    ++size_;
    return slot;
  }
  void pop_front() {
    slots_[first_] = T{};  // lets go of what it held
    first_ = (first_ + 1) & (slots_.size() - 1);
    --size_;
  }
  // Forgets all; the block stays unless it has become large.
  void clear() {
    while (!empty()) pop_front();
    first_ = 0;
    if (slots_.size() > kKeptSlots) slots_ = {};
  }
  // Gives the block back where nothing is queued.
  void shrink() {
    if (empty()) {
      slots_ = {};
      slots_.shrink_to_fit();
      first_ = 0;
    }
  }
  std::size_t capacity() const { return slots_.size(); }

 private:
  static constexpr std::size_t kKeptSlots = 64;

  void grow() {
    std::vector<T> grown(slots_.empty() ? 4 : slots_.size() * 2);
    for (std::size_t at = 0; at < size_; ++at) grown[at] = std::move((*this)[at]);
    slots_ = std::move(grown);
    first_ = 0;
  }

  std::vector<T> slots_;  // a power of two
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace polyglot
