// The two queues between the driver's thread and Python: records up, batches of commands down. Each is a buffer that is
// swapped under a lock held for some nanoseconds, once a turn or a call, never once a message.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/commands.h"

namespace polyglot {

class UpQueue {
 public:
  static constexpr std::uint64_t kAllTold = ~std::uint64_t{0};

  // Appends records, packed one after another. `untold`: with them, all was told of that the loop has written to the log
  // before this position. True: Python is to be woken, for the queue was empty, or for more was told than before: who
  // took records a moment ago had read the log's end before that.
  bool put(const std::string& bytes, std::uint32_t count, std::optional<std::uint64_t> untold = std::nullopt) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool was_empty = count_ == 0;
    bytes_ += bytes;
    count_ += count;
    unread_.store(bytes_.size(), std::memory_order_relaxed);
    unread_count_.store(count_, std::memory_order_relaxed);
    const bool more = untold && *untold != untold_.exchange(*untold, std::memory_order_acq_rel);
    return (was_empty && count > 0) || more;
  }
  // Before the loop's next write to the log: from here on there may be what it has not told of.
  void log_grows_from(std::uint64_t position) { untold_.store(position, std::memory_order_release); }
  // Takes all there are; `bytes` is swapped in as the next buffer. `untold`: where in the log that begins of which neither
  // these records have told nor those before; `kAllTold` where there is none. Right for all that was in the log before
  // this call.
  std::uint32_t take(std::string& bytes, std::uint64_t* untold = nullptr) {
    bytes.clear();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (untold != nullptr) *untold = untold_.load(std::memory_order_acquire);
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
  std::atomic<std::uint64_t> untold_{kAllTold};  // put back under the lock alone, together with the records
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
