// Fsyncs for a loop, one at a time, on a thread of its own: topics that need no log go on meanwhile.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "log/log_writer.h"

namespace polyglot {

class Syncer {
 public:
  // `done`: called on the thread, with the position that was asked for and whether all before it is durable.
  Syncer(LogWriter& log, std::function<void(std::uint64_t, bool)> done) : log_(log), done_(std::move(done)) {
    thread_ = std::thread([this] { run(); });
  }
  ~Syncer() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  Syncer(const Syncer&) = delete;
  Syncer& operator=(const Syncer&) = delete;
  void want(std::uint64_t position) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      wanted_ = std::max(wanted_, position);
      asked_ = true;
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || asked_; });
      if (stop_) return;
      asked_ = false;
      const std::uint64_t position = wanted_;
      lock.unlock();
      const bool ok = log_.sync(position);
      done_(position, ok);
      lock.lock();
    }
  }

  LogWriter& log_;
  std::function<void(std::uint64_t, bool)> done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t wanted_ = 0;
  bool asked_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace polyglot
