// The log of a simulation: a disk that fills up, and a reader that follows it from segment to segment.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "log/segment_file.h"
#include "record_checker.h"

namespace check {

// While it is there, files of this process may not grow beyond a size: a write that crosses it is short, the next fails.
// The limit is the kernel's, and what is in the files already stays.
class FullDisk {
 public:
  FullDisk() {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, SIG_IGN);
  }
  ~FullDisk() { recover(); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

  void fill(std::uint64_t bytes_max) {
    rlimit limit = before_;
    limit.rlim_cur = bytes_max;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  void recover() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

class LogTail {
 public:
  // `durable`: up to where events may be seen; what lies beyond is read, but not shown.
  LogTail(std::filesystem::path directory, const std::uint64_t& durable)
      : directory_(std::move(directory)), durable_(durable) {
    open_next();
  }
  ~LogTail() { ::close(fd_); }
  LogTail(const LogTail&) = delete;
  LogTail& operator=(const LogTail&) = delete;

  using Key = std::string;  // app, channel, epoch
  static Key key(const std::string& app, const std::string& channel, const std::string& epoch) {
    return app + '/' + channel + '/' + epoch;
  }
  // Those that may be seen.
  std::vector<ReadEvent> events(const Key& key) {
    read();
    std::vector<ReadEvent> shown;
    for (const auto& [event, end] : events_[key]) {
      if (end <= durable_) shown.push_back(event);
    }
    return shown;
  }
  bool shows(const Key& key, std::uint64_t seq, std::string_view id) {
    if (!holds(events_[key], seq, id)) read();
    return holds(events_[key], seq, id);
  }
  // In whatever epoch.
  bool shows(const std::string& app, const std::string& channel, std::uint64_t seq, std::string_view id) {
    const auto found = [&] {
      const Key begin = key(app, channel, "");
      for (auto at = events_.lower_bound(begin); at != events_.end() && at->first.starts_with(begin); ++at) {
        if (holds(at->second, seq, id)) return true;
      }
      return false;
    };
    if (found()) return true;
    read();
    return found();
  }
  std::size_t segments() const { return segments_; }
  std::string fault;  // what a reader may not find

  // Each epoch's seqs rise by one; after an fsync that failed, what was refused may lie there with the same seqs.
  bool in_order = true;

 private:
  struct Kept {
    ReadEvent event;
    std::uint64_t end = 0;
  };

  bool holds(const std::vector<Kept>& all, std::uint64_t seq, std::string_view id) const {
    return std::any_of(all.rbegin(), all.rend(), [&](const Kept& kept) {
      return kept.event.seq == seq && kept.event.id == id && kept.end <= durable_;
    });
  }
  bool open_next() {
    const int fd = ::open((directory_ / polyglot::segment_name(first_ + at_)).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
    first_ += at_;
    at_ = 0;
    ++segments_;
    return true;
  }
  void read() {
    do {
      drain();
      // A segment that was begun is the last word about the one before: that is read to its end.
    } while (at_ > 0 && open_next());
  }
  void drain() {
    std::string bytes;
    char block[16 << 10];
    while (true) {
      const ssize_t got = ::pread(fd_, block, sizeof block, static_cast<off_t>(at_ + bytes.size()));
      if (got <= 0) break;
      bytes.append(block, static_cast<std::size_t>(got));
    }
    std::string_view rest = bytes;
    while (rest.size() >= 8) {
      Cursor cursor(rest);
      const std::uint64_t size = cursor.integer(4);
      cursor.integer(4);
      const std::string_view body = cursor.text(size);
      if (!cursor.good) break;
      rest = cursor.rest();
      const std::uint64_t end = first_ + at_ + static_cast<std::uint64_t>(bytes.size() - rest.size());
      if (auto event = read_event(body)) {
        std::vector<Kept>& all = events_[key(event->app_id, event->channel, event->epoch)];
        if (event->seq != (all.empty() ? 1 : all.back().event.seq + 1)) in_order = false;
        all.push_back({std::move(*event), end});
      } else if (const auto head = read_head(body); !head || head->prior_end != first_) {
        fault = "the log holds what is no record of it";
      }
    }
    at_ += bytes.size() - rest.size();
    if (!rest.empty()) fault = "half a record was left in the log";
  }

  std::filesystem::path directory_;
  const std::uint64_t& durable_;
  int fd_ = -1;
  std::uint64_t first_ = 0;
  std::uint64_t at_ = 0;  // bytes of this segment that were read
  std::size_t segments_ = 0;
  std::map<Key, std::vector<Kept>> events_;
};

}  // namespace check
