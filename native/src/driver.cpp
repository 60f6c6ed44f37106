// plg_open and its kin: the driver over the C ABI, one loop on a thread of its own. Exceptions end here; what each
// function promises is in polyglot_driver.h.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

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
  plg_driver(const LoopSettings& settings, plg_log* log)
      : loop(settings, log == nullptr ? nullptr : &log->writer, lobby, counters,
             {[this] { wake_python.signal(); }, [this](std::string_view why) { died(why); }}) {}
  void died(std::string_view why) {
    {
      const std::lock_guard<std::mutex> lock(failure_mutex);
      failure = why;
    }
    dead.store(true, std::memory_order_release);
    wake_python.signal();
  }

  EventFd wake_python;
  Lobby lobby;
  Counters counters;
  std::string taken;  // records that Python looks at
  std::atomic<bool> dead{false};
  mutable std::mutex failure_mutex;
  std::string failure;
  LoopThread loop;  // ends before what it uses
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
    made->loop.start();
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
  const uint32_t count = driver->loop.up().take(driver->taken);
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
    driver->loop.submit(std::move(batch));
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
