// The two queues between the driver's thread and Python: records up, batches of commands down. Each is a buffer that is
// swapped under a lock held for some nanoseconds, once a turn or a call, never once a message.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/commands.h"

namespace polyglot {

class UpQueue {
 public:
  // Appends records, packed one after another. True: the queue was empty, so that Python is to be woken.
  bool put(const std::string& bytes, std::uint32_t count) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool was_empty = count_ == 0;
    bytes_ += bytes;
    count_ += count;
    unread_.store(bytes_.size(), std::memory_order_relaxed);
    unread_count_.store(count_, std::memory_order_relaxed);
    return was_empty;
  }
  // Takes all there are; `bytes` is swapped in as the next buffer.
  std::uint32_t take(std::string& bytes) {
    bytes.clear();
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(bytes, bytes_);
    unread_.store(0, std::memory_order_relaxed);
    unread_count_.store(0, std::memory_order_relaxed);
    takes_.fetch_add(1, std::memory_order_relaxed);
    return std::exchange(count_, 0);
  }
  std::size_t unread_bytes() const { return unread_.load(std::memory_order_relaxed); }
  std::size_t unread() const { return unread_count_.load(std::memory_order_relaxed); }
  std::uint64_t takes() const { return takes_.load(std::memory_order_relaxed); }

 private:
  std::mutex mutex_;
  std::string bytes_;
  std::uint32_t count_ = 0;
  std::atomic<std::size_t> unread_{0};
  std::atomic<std::size_t> unread_count_{0};
  std::atomic<std::uint64_t> takes_{0};
};

class DownQueue {
 public:
  bool put(std::unique_ptr<CommandBatch> batch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    batches_.push_back(std::move(batch));
    return batches_.size() == 1;
  }
  void take(std::vector<std::unique_ptr<CommandBatch>>& batches) {
    batches.clear();
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(batches, batches_);
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<CommandBatch>> batches_;
};

}  // namespace polyglot
