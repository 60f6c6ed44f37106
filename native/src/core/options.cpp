#include "core/options.h"

namespace polyglot {

namespace {

constexpr std::size_t kThreadsMax = 256;

}  // namespace

DriverOptions read_options(std::string_view options) {
  DriverOptions read;
  LoopSettings& settings = read.loop;
  MsgpackReader in(options);
  const auto us = [&in] { return static_cast<std::int64_t>(in.number() * 1e6); };
  const auto size = [&in] { return static_cast<std::size_t>(in.integer()); };
  for (std::size_t left = in.map(); left > 0; --left) {
    const std::string_view name = in.text();
    if (name == "heads_waiting_max") {
      settings.heads_waiting_max = size();
    } else if (name == "head_bytes_max") {
      settings.head_bytes_max = size();
    } else if (name == "head_deadline_s") {
      settings.head_deadline_us = us();
    } else if (name == "accept_deadline_s") {
      settings.accept_deadline_us = us();
    } else if (name == "silence_s") {
      settings.silence_us = us();
    } else if (name == "close_s") {
      settings.close_us = us();
    } else if (name == "send_progress_s") {
      settings.send_progress_us = us();
    } else if (name == "send_buffer_bytes") {
      settings.send_buffer_bytes = static_cast<int>(in.integer());
    } else if (name == "high_water_bytes") {
      settings.engine.high_water = size();
    } else if (name == "records_unread_max") {
      settings.records_unread_max = size();
    } else if (name == "records_unread_bytes_max") {
      settings.records_unread_bytes_max = size();
    } else if (name == "topic_idle_s") {
      settings.engine.topic_idle_us = us();
    } else if (name == "topic_sweep_s") {
      settings.engine.topic_sweep_us = us();
    } else if (name == "app_queued_bytes_max") {
      settings.engine.app_queued_bytes_max = size();
    } else if (name == "queued_bytes_max") {
      settings.engine.queued_bytes_max = size();
    } else if (name == "bookkeeping_s") {
      settings.bookkeeping_us = us();
    } else if (name == "log_always") {
      settings.engine.log_always = in.boolean();
    } else if (name == "io_threads") {
      read.io_threads = size();
      if (read.io_threads == 0 || read.io_threads > kThreadsMax) throw MsgpackError("io_threads is out of bounds");
    } else {
      throw MsgpackError("an unknown option: " + std::string(name));
    }
  }
  if (!in.at_end()) throw MsgpackError("bytes follow the options");
  return read;
}

}  // namespace polyglot
