#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <thread>
#include <vector>

#include "check.h"
#include "log/log_writer.h"
#include "log_directory.h"

using check::LogDirectory;
using polyglot::AppendError;
using polyglot::LogOptions;
using polyglot::LogWriter;

namespace {

std::string record(std::uint64_t seq, std::string_view channel = "room:a", std::size_t data = 40) {
  std::string key;
  std::string out;
  const std::string text = '"' + std::string(data, 'x') + '"';
  polyglot::EventView event;
  event.id = "evt_1";
  event.seq = seq;
  event.type = "t";
  event.data = text;
  event.user_id = "u";
  polyglot::append_channel_key(key, "app", channel, "epoch");
  polyglot::append_event_record(out, key, event, false);
  return out;
}

AppendError append(LogWriter& log, std::string_view records, bool bounded = true) {
  std::uint64_t position = 0;
  return log.append(records, bounded, position);
}

// Files can't grow beyond a size: the kernel writes what fits, then refuses, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t size) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limited{size, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

// What can't be synced, nor cut: writes succeed.
int open_device() { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }

}  // namespace

TEST("an append is in the file, the end and the mark when it returns") {
  LogDirectory directory;
  LogWriter log(directory.options());
  const std::string first = record(1), second = record(2) + record(1, "room:b");
  std::uint64_t position = 0;
  CHECK(log.append(first, true, position) == AppendError::none);
  CHECK_EQ(position, directory.head_bytes());
  CHECK_EQ(directory.mark(), directory.head_bytes() + first.size());
  CHECK(log.append(second, true, position) == AppendError::none);
  CHECK_EQ(position, directory.head_bytes() + first.size());
  CHECK_EQ(log.end(), position + second.size());
  CHECK_EQ(directory.mark(), log.end());
  CHECK_EQ(directory.segment(0).substr(directory.head_bytes()), first + second);
}

TEST("a full segment is followed by one that is named by its position and says where the one before ended") {
  LogDirectory directory;
  LogOptions options = directory.options();
  options.segment_bytes_max = 300;
  LogWriter log(options);
  std::string all;
  for (std::uint64_t seq = 1; seq <= 20; ++seq) {
    all += record(seq);
    CHECK(append(log, record(seq)) == AppendError::none);
  }
  std::vector<std::uint64_t> firsts = {0};
  std::uint64_t begun[3];
  for (std::size_t count = log.begun(begun, 3); count > 0; count = log.begun(begun, 3)) {
    firsts.insert(firsts.end(), begun, begun + count);
  }
  CHECK(firsts.size() > 4);
  std::string found;
  for (std::size_t n = 0; n < firsts.size(); ++n) {
    const std::string bytes = directory.segment(firsts[n]);
    CHECK(bytes.size() <= 300);
    if (n + 1 < firsts.size()) CHECK_EQ(firsts[n] + bytes.size(), firsts[n + 1]);
    std::string_view left = bytes;
    const auto head = check::read_head(*check::take_record(left));
    CHECK_EQ(head->version, 1u);
    CHECK_EQ(head->prior_end, firsts[n]);
    CHECK_EQ(head->log_id, "log_test");
    CHECK_EQ(head->renewed, "");
    if (n > 0) CHECK(head->created_us > 1'700'000'000'000'000u);
    found += left;
  }
  CHECK_EQ(found, all);
  CHECK_EQ(log.end(), firsts.back() + directory.segment(firsts.back()).size());
  CHECK_EQ(log.counters().segments_begun, firsts.size() - 1);
}

TEST("a batch that is larger than a segment is written whole, into an empty one") {
  LogDirectory directory;
  LogOptions options = directory.options();
  options.segment_bytes_max = 200;
  LogWriter log(options);
  const std::string large = record(1, "room:a", 5'000);
  CHECK(append(log, large) == AppendError::none);
  CHECK_EQ(directory.segment(0).size(), directory.head_bytes() + large.size());
  CHECK(append(log, record(2)) == AppendError::none);
  CHECK(directory.has_segment(directory.head_bytes() + large.size()));
}

TEST("what would end beyond the limit is refused where it is bounded") {
  LogDirectory directory;
  LogWriter log(directory.options());
  const std::string event = record(1);
  log.set_limit(log.end() + event.size());
  CHECK(append(log, event + event) == AppendError::full);
  CHECK(append(log, event) == AppendError::none);
  CHECK(append(log, event) == AppendError::full);
  CHECK(append(log, event, false) == AppendError::none);
  CHECK_EQ(log.counters().writes_full, 2u);
  CHECK_EQ(log.error(), "");
  log.set_limit(log.end() + event.size());
  CHECK(append(log, event) == AppendError::none);
}

TEST("a write that does not fit the disk is refused whole, cut off, and fits later") {
  for (const rlim_t room : {0u, 1u, 50u}) {
    LogDirectory directory;
    LogWriter log(directory.options());
    CHECK(append(log, record(1)) == AppendError::none);
    const std::uint64_t end = log.end();
    {
      const FileSizeLimit full(end + room);
      CHECK(append(log, record(2)) == AppendError::io);
      CHECK(append(log, record(2)) == AppendError::io);
      CHECK(log.error().find("00000000000000000000.seg") != std::string::npos);
    }
    CHECK_EQ(log.end(), end);
    CHECK_EQ(directory.mark(), end);
    CHECK_EQ(directory.segment(0).size(), end);
    CHECK(append(log, record(2)) == AppendError::none);
    CHECK_EQ(log.error(), "");
    CHECK_EQ(log.counters().writes_failed, 2u);
    CHECK_EQ(directory.segment(0).substr(directory.head_bytes()), record(1) + record(2));
  }
}

TEST("a segment that can't be begun leaves no file and the log as it was") {
  LogDirectory directory;
  LogOptions options = directory.options();
  options.segment_bytes_max = 150;
  LogWriter log(options);
  CHECK(append(log, record(1)) == AppendError::none);
  const std::uint64_t end = log.end();
  {
    const FileSizeLimit full(10);
    CHECK(append(log, record(2)) == AppendError::io);
    CHECK(!log.begin_segment(end + 100, "renewed"));
  }
  CHECK(!directory.has_segment(end));
  CHECK(!directory.has_segment(end + 100));
  CHECK_EQ(log.end(), end);
  std::uint64_t first = 0;
  CHECK_EQ(log.begun(&first, 1), 0u);
  CHECK(append(log, record(2)) == AppendError::none);
  CHECK(directory.has_segment(end));
}

TEST("a new segment may begin further on, with a new epoch for all, but never before the end") {
  LogDirectory directory;
  LogWriter log(directory.options());
  CHECK(append(log, record(1)) == AppendError::none);
  const std::uint64_t end = log.end();
  CHECK(!log.begin_segment(end - 1, "renewed"));
  CHECK_EQ(log.end(), end);
  CHECK(log.begin_segment(end + 1'000, "renewed"));
  const std::string bytes = directory.segment(end + 1'000);
  CHECK_EQ(log.end(), end + 1'000 + bytes.size());
  CHECK_EQ(directory.mark(), log.end());
  std::string_view left = bytes;
  const auto head = check::read_head(*check::take_record(left));
  CHECK_EQ(head->prior_end, end);
  CHECK_EQ(head->renewed, "renewed");
}

TEST("with `always` the mark moves when a sync has returned, and not before") {
  LogDirectory directory;
  LogOptions options = directory.options();
  options.acknowledge_at_once = false;
  options.segment_bytes_max = 300;
  LogWriter log(options);
  for (std::uint64_t seq = 1; seq <= 9; ++seq) CHECK(append(log, record(seq)) == AppendError::none);
  CHECK_EQ(directory.mark(), 0u);
  CHECK_EQ(log.durable(), 0u);
  CHECK(log.sync(log.end()));
  CHECK_EQ(directory.mark(), log.end());
  CHECK_EQ(log.durable(), log.end());
  CHECK(log.sync(log.end()));
  CHECK_EQ(log.counters().syncs, 1u);
}

TEST("a failed fsync is for good") {
  LogDirectory directory;
  LogOptions options = directory.options();
  ::close(options.segment_fd);
  options.segment_fd = open_device();
  options.acknowledge_at_once = false;
  LogWriter log(options);
  CHECK(append(log, record(1)) == AppendError::none);
  CHECK(!log.sync(log.end()));
  CHECK(log.failed());
  CHECK(log.error().find("fdatasync") != std::string::npos);
  CHECK(!log.sync(0));
  CHECK(append(log, record(2), false) == AppendError::failed);
  CHECK(!log.begin_segment(log.end(), ""));
  CHECK_EQ(directory.mark(), 0u);
  CHECK_EQ(log.durable(), 0u);
}

TEST("what can't be cut off now is cut off before the next write") {
  // A descriptor for appending only in name: the write beyond the limit is short, and a seal forbids to shrink.
  LogDirectory directory;
  LogOptions options = directory.options();
  ::close(options.segment_fd);
  options.segment_fd = ::memfd_create("segment", MFD_ALLOW_SEALING | MFD_CLOEXEC);
  CHECK(polyglot::write_whole(options.segment_fd, std::string(directory.head_bytes(), 'h'), 0));
  const int fd = ::dup(options.segment_fd);
  CHECK_EQ(::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  LogWriter log(options);
  const std::uint64_t end = log.end();
  {
    const FileSizeLimit full(end + 20);
    CHECK(append(log, record(1)) == AppendError::io);
  }
  struct stat file{};
  CHECK_EQ(::fstat(fd, &file), 0);
  CHECK_EQ(file.st_size, static_cast<off_t>(end + 20));
  CHECK(append(log, record(1)) == AppendError::io);
  CHECK(log.error().find("cut off") != std::string::npos);
  CHECK_EQ(log.end(), end);
  ::close(fd);
}

TEST("writers in several threads, syncs and rolls leave every record whole, in the order of positions") {
  LogDirectory directory;
  LogOptions options = directory.options();
  options.segment_bytes_max = 4'000;
  options.acknowledge_at_once = false;
  LogWriter log(options);
  constexpr std::uint64_t kEach = 300;
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 3; ++writer) {
    threads.emplace_back([&log, writer] {
      const std::string channel = "room:" + std::to_string(writer);
      std::uint64_t last = 0;
      for (std::uint64_t seq = 1; seq <= kEach; ++seq) {
        const std::string bytes = record(seq, channel);
        std::uint64_t position = 0;
        CHECK(log.append(bytes, true, position) == AppendError::none);
        CHECK(position >= last);
        last = position + bytes.size();
        if (seq % 50 == 0) {
          CHECK(log.sync(last));
          CHECK(log.durable() >= last);
        }
      }
    });
  }
  std::vector<std::uint64_t> firsts = {0};
  threads.emplace_back([&log, &firsts] {
    std::uint64_t seen = 0;
    for (int round = 0; round < 2'000; ++round) {
      std::uint64_t first = 0;
      if (log.begun(&first, 1) == 1) firsts.push_back(first);
      const std::uint64_t durable = log.durable();
      CHECK(durable >= seen && durable <= log.end());
      seen = durable;
      log.set_limit(log.end() + 1'000'000);
      static_cast<void>(log.error());
      static_cast<void>(log.counters());
    }
  });
  for (std::thread& thread : threads) thread.join();
  std::uint64_t first = 0;
  while (log.begun(&first, 1) == 1) firsts.push_back(first);
  std::uint64_t next[3] = {1, 1, 1};
  for (const std::uint64_t from : firsts) {
    const std::string bytes = directory.segment(from);
    std::string_view left = bytes;
    while (!left.empty()) {
      const auto body = check::take_record(left);
      CHECK(body.has_value());
      if (!body) return;
      const auto event = check::read_event(*body);
      if (!event) continue;
      std::uint64_t& expected = next[event->channel.back() - '0'];
      CHECK_EQ(event->seq, expected);
      ++expected;
    }
  }
  for (const std::uint64_t after : next) CHECK_EQ(after, kEach + 1);
  CHECK(log.counters().syncs <= 18u);
  CHECK_EQ(directory.mark(), log.durable());
}

TEST("everything is let go when the writer is") {
  const auto descriptors = [] {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
    return count;
  };
  LogDirectory directory;
  const std::size_t before = descriptors();
  {
    LogOptions options = directory.options();
    options.segment_bytes_max = 200;
    LogWriter log(options);
    for (std::uint64_t seq = 1; seq <= 9; ++seq) CHECK(append(log, record(seq)) == AppendError::none);
    CHECK(log.sync(log.end()));
    for (std::uint64_t seq = 10; seq <= 19; ++seq) CHECK(append(log, record(seq)) == AppendError::none);
  }
  CHECK_EQ(descriptors(), before);
}
