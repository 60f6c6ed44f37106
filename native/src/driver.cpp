// plg_open and its kin: the driver over the C ABI, loops that know nothing of each other but the lobby. Exceptions end
// here; what each function promises is in polyglot_driver.h.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include "core/counters_text.h"
#include "core/event_fd.h"
#include "core/loop_thread.h"
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

}  // namespace

struct plg_driver {
  static constexpr std::size_t kFailureBytes = 256;

  plg_driver(const DriverOptions& options, plg_log* log_) : log(log_ == nullptr ? nullptr : &log_->writer) {
    failure.reserve(kFailureBytes);
    const std::size_t count = options.io_threads;
    for (std::size_t at = 0; at < count; ++at) counters.push_back(std::make_unique<Counters>());
    for (std::size_t at = 0; at < count; ++at) {
      LoopSettings settings = options.loop;
      settings.engine.id_first = count + at;
      settings.engine.id_step = count;
      for (std::size_t other = 0; other < count; ++other) {
        if (other != at) settings.engine.queued_elsewhere.push_back(&counters[other]->outboxes.queued_bytes);
      }
      loops.push_back(std::make_unique<LoopThread>(
          settings, log, lobby, *counters[at],
          LoopThread::Calls{[this] { wake_python.signal(); }, [this](std::string_view why) { died(why); }}));
    }
  }
  ~plg_driver() { stop(); }
  void stop() {
    for (const auto& loop : loops) loop->stop();
  }
  std::vector<LoopCounters> counted() const {
    std::vector<LoopCounters> found;
    for (std::size_t at = 0; at < loops.size(); ++at) found.push_back({counters[at].get(), loops[at]->cpu_us()});
    return found;
  }
  // Half a driver serves nobody: with one loop end all, and the daemon is told.
  void died(std::string_view why) {
    {
      const std::lock_guard<std::mutex> lock(failure_mutex);
      if (failure.empty()) failure = why.substr(0, failure.capacity());  // there may be no memory for more
    }
    stop();
    dead.store(true, std::memory_order_release);
    wake_python.signal();
  }

  LogWriter* log;
  EventFd wake_python;
  Lobby lobby;
  std::string taken;  // records that Python looks at
  std::string more;
  std::string latencies;  // that Python looks at
  std::atomic<bool> dead{false};
  mutable std::mutex failure_mutex;
  std::string failure;
  std::vector<std::unique_ptr<Counters>> counters;
  std::vector<std::unique_ptr<LoopThread>> loops;  // end before what they use
};

extern "C" {

int plg_open(uint32_t abi, const char* options, size_t options_size, plg_log* log, const int32_t* listeners,
             size_t listeners_count, plg_driver** driver, char* error, size_t error_size) {
  if (abi != PLG_ABI) {
    copy_text("the library has another ABI than its caller", error, error_size);
    return PLG_INVALID;
  }
  try {
    auto made = std::make_unique<plg_driver>(read_options({options, options_size}), log);
    for (size_t at = 0; at < listeners_count; ++at) made->loops[0]->listen(listeners[at]);
    for (const auto& loop : made->loops) loop->start();
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

ptrdiff_t plg_take_records(plg_driver* driver, const void** records, size_t* size, uint64_t* told) {
  driver->wake_python.clear();
  // First: of what is written from now on nobody has to have told.
  *told = driver->log == nullptr ? 0 : driver->log->end();
  uint64_t untold = 0;
  uint32_t count = driver->loops[0]->up().take(driver->taken, &untold);
  *told = std::min(*told, untold);
  for (size_t at = 1; at < driver->loops.size(); ++at) {
    count += driver->loops[at]->up().take(driver->more, &untold);
    driver->taken += driver->more;
    *told = std::min(*told, untold);
  }
  // What `clear` took away may have been the last signal ever, and these records are not what it was about.
  if (driver->dead.load(std::memory_order_acquire)) driver->wake_python.signal();
  *records = driver->taken.data();
  *size = driver->taken.size();
  if (count == 0 && driver->dead.load(std::memory_order_acquire)) return PLG_FAILED;
  return static_cast<ptrdiff_t>(count);
}

int plg_submit(plg_driver* driver, uint32_t loop, const void* commands, size_t size) {
  if (loop >= driver->loops.size()) return PLG_INVALID;
  try {
    auto batch = std::make_unique<CommandBatch>();
    batch->bytes.assign(static_cast<const char*>(commands), size);
    decode_commands(*batch);
    driver->loops[loop]->submit(std::move(batch));
    return 0;
  } catch (const std::exception&) {
    return PLG_INVALID;
  }
}

ptrdiff_t plg_counters(plg_driver* driver, void* buffer, size_t room) {
  try {
    std::string text;
    append_counters(text, driver->counted());
    if (text.size() <= room) std::memcpy(buffer, text.data(), text.size());
    return static_cast<ptrdiff_t>(text.size());
  } catch (const std::exception&) {
    return PLG_SYSTEM;
  }
}

ptrdiff_t plg_take_latencies(plg_driver* driver, const void** latencies) {
  try {
    driver->latencies.clear();
    append_latencies(driver->latencies, driver->counted());
    *latencies = driver->latencies.data();
    return static_cast<ptrdiff_t>(driver->latencies.size());
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
