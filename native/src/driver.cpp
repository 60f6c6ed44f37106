// plg_open and its kin: the driver over the C ABI. Owns the thread, the queues and the eventfds; the rest is `Loop`'s.
// Exceptions end here; what each function promises is in polyglot_driver.h.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include "core/counters_text.h"
#include "core/linux_kernel.h"
#include "core/loop.h"
#include "core/options.h"
#include "log/log_handle.h"
#include "polyglot_driver.h"

namespace {

using namespace polyglot;

size_t copy_text(std::string_view text, char* out, size_t room) {
  if (room == 0) return 0;
  const size_t size = std::min(text.size(), room - 1);
  std::memcpy(out, text.data(), size);
  out[size] = '\0';
  return size;
}

class EventFd {
 public:
  EventFd() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~EventFd() { close(fd_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  int fd() const { return fd_; }
  void signal() {
    const std::uint64_t one = 1;
    static_cast<void>(!write(fd_, &one, sizeof one));  // full only where it is signalled already
  }
  void clear() {
    std::uint64_t count = 0;
    static_cast<void>(!read(fd_, &count, sizeof count));
  }

 private:
  int fd_;
};

// Fsyncs for the loop, one at a time, on a thread of its own: topics that need no log go on meanwhile.
class Syncer {
 public:
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

}  // namespace

struct plg_driver {
  plg_driver(const LoopSettings& settings, plg_log* log)
      : kernel(static_cast<int>(settings.send_progress_us / 1000)),
        loop(settings, kernel, log == nullptr ? nullptr : &log->writer, up, down, counters,
             {[this] { wake_python.signal(); }, [this](std::uint64_t position) { syncer->want(position); }}) {
    if (log != nullptr && settings.engine.log_always) {
      syncer = std::make_unique<Syncer>(log->writer, [this](std::uint64_t position, bool ok) {
        loop.synced(position, ok);
        wake_sync.signal();
      });
    }
    kernel.watch(wake_loop.fd(), Loop::kWakeTag, true, false, false);
    kernel.watch(wake_sync.fd(), Loop::kSyncTag, true, false, false);
    loop.clear_wake([this](std::uint64_t tag) { (tag == Loop::kWakeTag ? wake_loop : wake_sync).clear(); });
  }
  ~plg_driver() {
    stop.store(true, std::memory_order_release);
    wake_loop.signal();
    if (thread.joinable()) thread.join();
    syncer.reset();
  }
  void run() {
    try {
      while (!stop.load(std::memory_order_acquire)) loop.turn(kWaitMsMax);
      loop.close_all();
      return;
    } catch (const std::exception& error) {
      died(error.what());
    } catch (...) {
      died("an unknown exception");
    }
    loop.close_all();
    wake_python.signal();
  }
  void died(const char* why) {
    {
      const std::lock_guard<std::mutex> lock(failure_mutex);
      failure = why;
    }
    dead.store(true, std::memory_order_release);
  }

  static constexpr int kWaitMsMax = 1000;
  EventFd wake_python, wake_loop, wake_sync;
  UpQueue up;
  DownQueue down;
  Counters counters;
  LinuxKernel kernel;
  std::unique_ptr<Syncer> syncer;
  Loop loop;
  std::string taken;  // records that Python looks at
  std::string counted;
  std::atomic<bool> stop{false};
  std::atomic<bool> dead{false};
  mutable std::mutex failure_mutex;
  std::string failure;
  std::thread thread;
};

extern "C" {

int plg_open(uint32_t abi, const char* options, size_t options_size, plg_log* log, const int32_t* listeners,
             size_t listeners_count, plg_driver** driver, char* error, size_t error_size) {
  if (abi != PLG_ABI) {
    copy_text("the library has another ABI than its caller", error, error_size);
    return PLG_INVALID;
  }
  try {
    const LoopSettings settings = read_options({options, options_size});
    auto made = std::make_unique<plg_driver>(settings, log);
    for (size_t at = 0; at < listeners_count; ++at) made->loop.listen(listeners[at]);
    plg_driver* raw = made.get();
    made->thread = std::thread([raw] { raw->run(); });
    *driver = made.release();
    return 0;
  } catch (const MsgpackError& failure) {
    copy_text(failure.what(), error, error_size);
    return PLG_INVALID;
  } catch (const std::system_error& failure) {
    copy_text(failure.what(), error, error_size);
    errno = failure.code().value();
    return PLG_SYSTEM;
  } catch (const std::exception& failure) {
    copy_text(failure.what(), error, error_size);
    errno = ENOMEM;
    return PLG_SYSTEM;
  }
}

int plg_wake_fd(const plg_driver* driver) { return driver->wake_python.fd(); }

ptrdiff_t plg_take_records(plg_driver* driver, const void** records, size_t* size) {
  driver->wake_python.clear();
  const uint32_t count = driver->up.take(driver->taken);
  // What `clear` took away may have been the last signal ever, and these records are not what it was about.
  if (driver->dead.load(std::memory_order_acquire)) driver->wake_python.signal();
  *records = driver->taken.data();
  *size = driver->taken.size();
  if (count == 0 && driver->dead.load(std::memory_order_acquire)) return PLG_FAILED;
  return static_cast<ptrdiff_t>(count);
}

int plg_submit(plg_driver* driver, const void* commands, size_t size) {
  try {
    auto batch = std::make_unique<CommandBatch>();
    batch->bytes.assign(static_cast<const char*>(commands), size);
    decode_commands(*batch);
    if (driver->down.put(std::move(batch))) driver->wake_loop.signal();
    return 0;
  } catch (const std::exception&) {
    return PLG_INVALID;
  }
}

ptrdiff_t plg_counters(plg_driver* driver, void* buffer, size_t room) {
  try {
    std::string text;
    append_counters(text, driver->counters);
    if (text.size() <= room) std::memcpy(buffer, text.data(), text.size());
    return static_cast<ptrdiff_t>(text.size());
  } catch (const std::exception&) {
    return PLG_SYSTEM;
  }
}

size_t plg_failure(const plg_driver* driver, char* text, size_t room) {
  const std::lock_guard<std::mutex> lock(driver->failure_mutex);
  return copy_text(driver->failure, text, room);
}

void plg_close(plg_driver* driver) { delete driver; }

}  // extern "C"
