// A driver with several loops, over its C ABI, with real sockets and a real log: what is accepted reaches the loop of its
// app before anything that follows it, has one owner at any time, and what is said to be told of is told of.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "command_writer.h"
#include "core/msgpack.h"
#include "dice.h"
#include "log/log_handle.h"
#include "log_directory.h"
#include "polyglot_driver.h"

namespace {

using check::CommandWriter;

constexpr int kPatienceMs = 30'000;
constexpr std::string_view kHandshake =
    "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

int listen_anywhere(sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) < 0 || listen(fd, 512) < 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0) {
    CHECK(false);
  }
  return fd;
}

void append_number(std::string& out, double number) {
  out += '\xcb';  // a float of 64 bits, its highest byte first
  const auto bits = std::bit_cast<std::uint64_t>(number);
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(bits >> shift & 0xff);
}

class Client {
 public:
  explicit Client(const sockaddr_in& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    CHECK(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    CHECK(send(fd_, kHandshake.data(), kHandshake.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kHandshake.size()));
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  std::string all() {  // until the server ends
    std::string heard;
    char block[4096];
    pollfd ready{fd_, POLLIN, 0};
    while (poll(&ready, 1, kPatienceMs) == 1) {
      const ssize_t got = recv(fd_, block, sizeof block, 0);
      if (got <= 0) return heard;
      heard.append(block, static_cast<std::size_t>(got));
    }
    return heard + " and then no end";
  }

 private:
  int fd_;
};

class Driver {
 public:
  Driver(std::size_t io_threads, double accept_deadline_s, plg_log* log, bool log_always = false) {
    std::string options;
    polyglot::MsgpackWriter out(options);
    out.map(5);
    out.text("io_threads");
    out.integer(io_threads);
    out.text("accept_deadline_s");
    append_number(options, accept_deadline_s);
    out.text("close_s");  // our clients do not answer a close frame
    append_number(options, 0.01);
    out.text("bookkeeping_s");  // each turn tells, so that there are many times at which that could be wrong
    append_number(options, 0);
    out.text("log_always");
    out.boolean(log_always);
    const int32_t listener = listen_anywhere(address);
    char error[256] = "";
    const int opened =
        plg_open(PLG_ABI, options.data(), options.size(), log, &listener, 1, &driver_, error, sizeof error);
    CHECK_EQ(std::string(error), "");
    CHECK_EQ(opened, 0);
  }
  ~Driver() { plg_close(driver_); }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  void submit(std::size_t loop, CommandWriter& commands) {
    const auto batch = commands.take();
    CHECK_EQ(plg_submit(driver_, static_cast<uint32_t>(loop), batch->bytes.data(), batch->bytes.size()), 0);
  }
  int submit_raw(uint32_t loop, std::string_view bytes) {
    return plg_submit(driver_, loop, bytes.data(), bytes.size());
  }
  // Waits until there is something to take, and takes it; false where nothing came in time.
  bool take() {
    pollfd ready{plg_wake_fd(driver_), POLLIN, 0};
    if (poll(&ready, 1, kPatienceMs) != 1) return false;
    take_now();
    return true;
  }
  void take_now() {
    const void* bytes = nullptr;
    size_t size = 0;
    const ptrdiff_t count = plg_take_records(driver_, &bytes, &size, &told);
    CHECK(count >= 0);
    polyglot::MsgpackReader in(std::string_view(static_cast<const char*>(bytes), size));
    for (ptrdiff_t left = count; left > 0; --left) read(in);
    CHECK(in.at_end());
  }

  sockaddr_in address{};
  std::vector<std::uint64_t> connected;  // since this was last emptied
  std::map<std::uint64_t, std::vector<std::uint64_t>> disconnected;  // conn -> codes
  std::map<std::uint64_t, std::uint64_t> published;  // topic -> newest seq that was told
  std::size_t results = 0;
  std::uint64_t told = 0;

 private:
  void read(polyglot::MsgpackReader& in) {
    std::size_t left = in.array() - 1;
    const std::uint64_t tag = in.natural();
    const auto next = [&] {
      --left;
      return in.natural();
    };
    if (tag == 1) {
      connected.push_back(next());
    } else if (tag == 6) {
      const std::uint64_t conn = next();
      disconnected[conn].push_back(next());
    } else if (tag == 8) {
      const std::uint64_t topic = next();
      const std::uint64_t first = next();
      CHECK_EQ(first, published[topic] + 1);
      published[topic] = next();
    } else if (tag == 9) {
      ++results;
    }
    for (; left > 0; --left) in.skip();
  }

  plg_driver* driver_ = nullptr;
};

TEST("what is sent to an app's loop after an accept finds the connection there") {
  Driver driver(3, 10, nullptr);
  CommandWriter commands;
  commands.configure_app("a", 4096, 100);
  driver.submit(1, commands);
  for (int round = 0; round < 30; ++round) {
    Client client(driver.address);
    driver.connected.clear();
    while (driver.connected.empty() && driver.take()) continue;
    CHECK_EQ(driver.connected.size(), std::size_t{1});
    const std::uint64_t conn = driver.connected.front();
    commands.accept(conn, "a", "u");
    driver.submit(1, commands);
    commands.disconnect(conn, 4321, "so it is");
    driver.submit(1, commands);
    const std::string heard = client.all();
    CHECK(heard.starts_with("HTTP/1.1 101 "));
    CHECK(heard.ends_with(std::string("\x88\x0a\x10\xe1", 4) + "so it is"));
    while (driver.disconnected[conn].empty() && driver.take()) continue;
    CHECK_EQ(driver.disconnected[conn], std::vector<std::uint64_t>{4321});
  }
}

TEST("a handshake that is accepted as its time runs out has one outcome") {
  Driver driver(2, 0.001, nullptr);
  CommandWriter commands;
  commands.configure_app("a", 4096, 100);
  driver.submit(1, commands);
  check::Dice dice(7);
  std::map<std::uint64_t, std::unique_ptr<Client>> clients;
  for (int round = 0; round < 100; ++round) {
    auto client = std::make_unique<Client>(driver.address);
    driver.connected.clear();
    while (driver.connected.empty() && driver.take()) continue;
    const std::uint64_t conn = driver.connected.at(0);
    clients[conn] = std::move(client);
    usleep(static_cast<useconds_t>(dice.below(2'000)));
    commands.accept(conn, "a", "u");
    commands.disconnect(conn, 4000, "");
    driver.submit(1, commands);
  }
  for (auto& [conn, client] : clients) {
    const std::string heard = client->all();
    const bool accepted = heard.starts_with("HTTP/1.1 101 ");
    CHECK(accepted || heard.starts_with("HTTP/1.1 503 "));
    CHECK(heard.find(" and then no end") == std::string::npos);
    CHECK_EQ(heard.find("HTTP/1.1", 1), std::string::npos);
    while (driver.disconnected[conn].empty() && driver.take()) continue;
    CHECK_EQ(driver.disconnected[conn], std::vector<std::uint64_t>{accepted ? 4000u : 1006u});
  }
}

TEST("commands for a loop that is not there are refused") {
  Driver driver(2, 10, nullptr);
  CommandWriter commands;
  commands.stop_accepting();
  const auto batch = commands.take();
  CHECK_EQ(driver.submit_raw(2, batch->bytes), PLG_INVALID);
  CHECK_EQ(driver.submit_raw(1, batch->bytes), 0);
}

// Every event before `told` is one that a record has told of, whichever loop wrote it; and once all is quiet, that is the
// whole log.
void check_what_is_told(bool log_always) {
  constexpr std::size_t kLoops = 3;
  constexpr std::uint64_t kTopics = 6;
  check::LogDirectory directory;
  polyglot::LogOptions options = directory.options();
  options.acknowledge_at_once = !log_always;
  plg_log log{polyglot::LogWriter(options)};
  {
    Driver driver(kLoops, 10, &log, log_always);
    CommandWriter commands;
    check::SimPolicy logged;
    logged.logged = true;
    std::map<std::string, std::uint64_t> topics;
    for (std::uint64_t topic = 1; topic <= kTopics; ++topic) {
      const std::string app = "app-" + std::to_string(topic);
      commands.configure_app(app, 4096, 1'000'000);
      commands.open_topic(topic, app, "room:" + app, logged, "e", 0, {});
      topics[app] = topic;
      driver.submit(topic % kLoops, commands);
    }
    check::Dice dice(11);
    std::size_t requests = 0;
    const auto publish = [&] {
      const std::uint64_t topic = 1 + dice.below(kTopics);
      std::vector<CommandWriter::Item> items(1 + dice.below(20), CommandWriter::Item{topic, "t", "1", "", ""});
      commands.publish(++requests, items);
      driver.submit(topic % kLoops, commands);
    };
    std::size_t at = directory.head_bytes();  // what the log holds before was found to be told of
    const auto check_told = [&] {
      if (driver.told <= at) return true;
      const std::string segment = directory.segment(0);
      CHECK(driver.told <= segment.size());
      while (at < driver.told) {
        std::string_view rest = std::string_view(segment).substr(at);
        const auto body = check::take_record(rest);
        const auto event = body ? check::read_event(*body) : std::nullopt;
        CHECK(event.has_value());
        if (!event) return false;
        CHECK(event->seq <= driver.published[topics[event->app_id]]);
        at = segment.size() - rest.size();
      }
      return true;
    };
    for (int round = 0; round < 400; ++round) {
      for (std::uint64_t left = 1 + dice.below(3); left > 0; --left) publish();
      for (int takes = 100; takes > 0; --takes) {  // some between a loop's write and its telling
        driver.take_now();
        if (!check_told()) return;
      }
    }
    while ((driver.results < requests || driver.told < log.writer.end()) && driver.take() && check_told()) continue;
    CHECK_EQ(driver.results, requests);
    CHECK_EQ(driver.told, log.writer.end());
  }
}

TEST("of all that several loops wrote before a position, it is told when they say so") { check_what_is_told(false); }

TEST("of all that several loops wrote and synced, it is told when they say so") { check_what_is_told(true); }

}  // namespace
