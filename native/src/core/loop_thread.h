// A loop with all that it needs to run by itself: its thread, its two queues to and from Python, its counters, its epoll,
// and, where the log is synced before anybody sees an event, a thread for that. Owned by `plg_driver`.
#pragma once

#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>

#include "core/event_fd.h"
#include "core/linux_kernel.h"
#include "core/loop.h"
#include "core/syncer.h"

namespace polyglot {

class LoopThread {
 public:
  struct Calls {  // from its thread; none may throw
    std::function<void()> records_wait;
    std::function<void(std::string_view)> died;  // its thread has ended by a fault
  };

  LoopThread(const LoopSettings& settings, LogWriter* log, Lobby& lobby, Counters& counters, Calls calls);
  ~LoopThread();  // every socket is closed, the thread joined
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  // Before `start`: a listening socket, the loop's from now on.
  void listen(int fd) { loop_.listen(fd); }
  void start();
  // Any thread. The loop ends with its turn; who waits for it destroys it.
  void stop();
  void submit(std::unique_ptr<CommandBatch> batch);  // any thread
  UpQueue& up() { return up_; }
  std::uint64_t cpu_us() const;  // that its thread has used; any thread

 private:
  void run();

  static constexpr int kWaitMsMax = 1000;
  Calls calls_;
  EventFd wake_loop_, wake_sync_;
  UpQueue up_;
  DownQueue down_;
  LinuxKernel kernel_;
  std::unique_ptr<Syncer> syncer_;
  Loop loop_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
  clockid_t cpu_clock_{};
};

}  // namespace polyglot
