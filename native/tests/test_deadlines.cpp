// Deadlines that move on: each connection's time is its own, whoever else is waited for.
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "client_frame.h"
#include "command_writer.h"
#include "core/deadlines.h"
#include "core/loop.h"
#include "dice.h"
#include "sim_kernel.h"

namespace {

using check::SimKernel;

TEST("what is due comes out soonest first, in whatever order it went in") {
  check::Dice dice(1);
  polyglot::Deadlines deadlines;
  std::size_t waiting = 0;
  std::int64_t now = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (waiting == 0 || dice.one_in(2)) {
      deadlines.push({dice.next(), now + static_cast<std::int64_t>(dice.below(1000))});
      ++waiting;
    } else {
      CHECK(deadlines.front().at_us >= now);
      now = deadlines.front().at_us;
      deadlines.pop();
      --waiting;
    }
    CHECK_EQ(deadlines.empty(), waiting == 0);
  }
}

// Two clients on a loop where nothing goes wrong and time is the test's.
class TwoClients {
 public:
  TwoClients() {
    kernel.calm();
    loop.listen(SimKernel::kListener);
    commands.configure_app("a", 4096, 100);
  }
  std::shared_ptr<SimKernel::Socket> come() {
    auto socket = kernel.connect();
    socket->to_server =
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    loop.turn(0);
    commands.accept(++conns_, "a", "");
    down.put(commands.take());
    loop.turn(0);
    return socket;
  }
  void pass_s(std::int64_t seconds) {
    kernel.pass(seconds * 1'000'000);
    loop.turn(0);
    loop.turn(0);
  }
  static void heartbeat(SimKernel::Socket& socket) {
    socket.to_server += polyglot::testing::client_frame(0x81, R"([null,"1","phoenix","heartbeat",{}])");
  }
  static bool was_closed(const SimKernel::Socket& socket) {
    return socket.to_client.find("no word for 60 s") != std::string::npos;
  }

  SimKernel kernel{1};
  polyglot::UpQueue up;
  polyglot::DownQueue down;
  polyglot::Lobby lobby;
  polyglot::Counters counters;
  check::CommandWriter commands;
  polyglot::Loop loop{{}, kernel, nullptr, up, down, lobby, counters, {[] {}, [](std::uint64_t) {}}};

 private:
  std::uint64_t conns_ = 0;
};

TEST("a silent client is closed when its own time is up, not when that of a later one is") {
  TwoClients clients;
  const auto first = clients.come();
  clients.pass_s(10);
  TwoClients::heartbeat(*first);
  clients.pass_s(0);
  clients.pass_s(40);
  const auto second = clients.come();
  clients.pass_s(15);  // the first has now been looked at, and has 5 s left; the second has 45
  CHECK(!TwoClients::was_closed(*first));
  clients.pass_s(6);
  CHECK(TwoClients::was_closed(*first));
  CHECK(!TwoClients::was_closed(*second));
  clients.pass_s(40);
  CHECK(TwoClients::was_closed(*second));
}

}  // namespace
