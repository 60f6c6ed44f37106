#include "core/loop_thread.h"

#include <pthread.h>

#include <exception>
#include <new>
#include <utility>

namespace polyglot {

LoopThread::LoopThread(const LoopSettings& settings, LogWriter* log, Lobby& lobby, Counters& counters, Calls calls)
    : calls_(std::move(calls)),
      kernel_(static_cast<int>(settings.send_progress_us / 1000)),
      loop_(settings, kernel_, log, up_, down_, lobby, counters,
            {calls_.records_wait, [this](std::uint64_t position) { syncer_->want(position); }}) {
  if (log != nullptr && settings.engine.log_always) {
    syncer_ = std::make_unique<Syncer>(*log, [this](std::uint64_t position, bool ok) {
      loop_.synced(position, ok);
      wake_sync_.signal();
    });
  }
  kernel_.watch(wake_loop_.fd(), Loop::kWakeTag, true, false, false);
  kernel_.watch(wake_sync_.fd(), Loop::kSyncTag, true, false, false);
  loop_.clear_wake([this](std::uint64_t tag) { (tag == Loop::kWakeTag ? wake_loop_ : wake_sync_).clear(); });
}

LoopThread::~LoopThread() {
  stop();
  if (thread_.joinable()) thread_.join();
  syncer_.reset();
}

void LoopThread::start() {
  thread_ = std::thread([this] { run(); });
  pthread_getcpuclockid(thread_.native_handle(), &cpu_clock_);
}

std::uint64_t LoopThread::cpu_us() const {
  timespec used{};
  if (clock_gettime(cpu_clock_, &used) != 0) return 0;
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(used.tv_nsec) / 1000;
}

void LoopThread::stop() {
  stop_.store(true, std::memory_order_release);
  wake_loop_.signal();
}

void LoopThread::submit(std::unique_ptr<CommandBatch> batch) {
  if (down_.put(std::move(batch))) wake_loop_.signal();
}

void LoopThread::run() {
  try {
    while (!stop_.load(std::memory_order_acquire)) loop_.turn(kWaitMsMax);
  } catch (const std::bad_alloc&) {
    calls_.died("there is no memory left");
  } catch (const std::exception& error) {
    calls_.died(error.what());
  } catch (...) {
    calls_.died("an unknown exception");
  }
  try {
    loop_.close_all();
  } catch (const std::bad_alloc&) {  // said above; the process's end closes what is left
    return;
  }
}

}  // namespace polyglot
