// Immutable bytes that many connections, windows and snapshots share: one allocation, counted, never copied.
// Made at the end of a turn from what a topic published in it. Belongs to one thread, so the count is a plain number.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace polyglot {

class Run {
 public:
  static Run* make(std::string_view bytes) {
    void* memory = std::malloc(sizeof(Run) + bytes.size());
    if (memory == nullptr) throw std::bad_alloc();
    Run* run = new (memory) Run(static_cast<std::uint32_t>(bytes.size()));
    std::memcpy(run->data(), bytes.data(), bytes.size());
    return run;
  }
  char* data() { return reinterpret_cast<char*>(this + 1); }
  const char* data() const { return reinterpret_cast<const char*>(this + 1); }
  std::uint32_t size() const { return size_; }
  std::string_view view(std::uint32_t from, std::uint32_t size) const { return {data() + from, size}; }

  void hold() { ++holders_; }
  void release() {
    if (--holders_ == 0) {
      this->~Run();
      std::free(this);
    }
  }

 private:
  explicit Run(std::uint32_t size) : size_(size) {}
  std::uint32_t holders_ = 0;
  std::uint32_t size_;
};

// A counted reference.
class RunRef {
 public:
  RunRef() = default;
  explicit RunRef(Run* run) : run_(run) {
    if (run_ != nullptr) run_->hold();
  }
  RunRef(const RunRef& other) : RunRef(other.run_) {}
  RunRef(RunRef&& other) noexcept : run_(std::exchange(other.run_, nullptr)) {}
  RunRef& operator=(RunRef other) noexcept {
    std::swap(run_, other.run_);
    return *this;
  }
  ~RunRef() {
    if (run_ != nullptr) run_->release();
  }
  static RunRef of(std::string_view bytes) { return RunRef(Run::make(bytes)); }

  Run* operator->() const { return run_; }
  Run* get() const { return run_; }
  explicit operator bool() const { return run_ != nullptr; }
  bool operator==(const RunRef& other) const { return run_ == other.run_; }

 private:
  Run* run_ = nullptr;
};

}  // namespace polyglot
