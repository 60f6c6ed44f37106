// A counted reference of one thread's own: the count is a plain number in the thing itself (`holders`).
#pragma once

#include <utility>

namespace polyglot {

template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(const Ref& other) : held_(other.held_) {
    if (held_ != nullptr) ++held_->holders;
  }
  Ref(Ref&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~Ref() {
    if (held_ != nullptr && --held_->holders == 0) delete held_;
  }
  static Ref make() {
    Ref made;
    made.held_ = new T();
    made.held_->holders = 1;
    return made;
  }

  void reset() { *this = Ref(); }
  T* get() const { return held_; }
  T* operator->() const { return held_; }
  T& operator*() const { return *held_; }
  explicit operator bool() const { return held_ != nullptr; }
  bool operator==(const Ref& other) const { return held_ == other.held_; }

 private:
  T* held_ = nullptr;
};

}  // namespace polyglot
