// A loop in a kernel in which nothing goes wrong, with clients of some apps, whose turns a test takes one by one. There
// is no gateway: the test says what it would.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "client_frame.h"
#include "command_writer.h"
#include "core/loop.h"
#include "sim_kernel.h"

namespace check {

class FairWorld {
 public:
  using Socket = SimKernel::Socket;

  explicit FairWorld(const polyglot::LoopSettings& settings)
      : loop(settings, kernel, nullptr, up, down, lobby, counters, {[] {}, {}}) {
    kernel.calm();
    loop.listen(SimKernel::kListener);
    for (const char* app : {"a", "b", "c"}) commands.configure_app(app, 65'536, 1'000'000);
  }

  void turn() {
    if (!commands.empty()) {
      down.put(commands.take());
      kernel.signal(polyglot::Loop::kWakeTag);
    }
    loop.turn(1);
  }
  void turns(int count) {
    while (count-- > 0) turn();
  }
  // A connection that no handshake has begun.
  std::shared_ptr<Socket> knock() {
    auto socket = kernel.connect();
    socket->room = std::size_t{1} << 30;
    socket->to_server =
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    return socket;
  }
  // A client that is a member of one channel.
  std::shared_ptr<Socket> member(const std::string& app, std::uint64_t topic, const std::string& channel) {
    auto socket = knock();
    turns(2);
    commands.accept(++conns_, app, "");
    turn();
    say(*socket, R"(["1","1",")" + channel + R"(","phx_join",{}])");
    turns(2);
    commands.admit(conns_, ++subs_, topic, true, {}, {}, true);
    turns(2);
    drain();
    socket->to_client.clear();
    return socket;
  }
  // Members without sockets.
  void crowd(const std::string& app, std::uint64_t topic, int count) {
    while (count-- > 0) {
      const std::uint64_t id = next_virtual_++;
      commands.open_virtual(id, app, "tail");
      commands.admit(id, id, topic, false, {}, {}, true);
    }
    turn();
    drain();
  }
  void open(std::uint64_t topic, const std::string& app, const std::string& channel) {
    commands.open_topic(topic, app, channel, {}, "e", 0, {});
  }
  static void say(Socket& socket, const std::string& text) {
    socket.to_server += polyglot::testing::client_frame(0x81, text);
  }
  static void push(Socket& socket, const std::string& channel, const std::string& event, const std::string& payload) {
    say(socket, R"(["1","9",")" + channel + "\",\"" + event + "\"," + payload + "]");
  }
  static void publish(Socket& socket, const std::string& channel, std::size_t size = 10) {
    push(socket, channel, "publish", R"({"type":"t","data":")" + std::string(size, 'x') + "\"}");
  }
  // Takes what waits for Python; how many records.
  std::uint32_t drain() { return up.take(records); }
  std::uint64_t events_of(const std::string& app) { return loop.engine().app(app)->tally->events.get(); }
  std::uint64_t deliveries_of(const std::string& app) { return loop.engine().app(app)->tally->deliveries.get(); }
  static std::size_t count(const std::string& text, const std::string& what) {
    std::size_t found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  }

  SimKernel kernel{1};
  polyglot::UpQueue up;
  polyglot::DownQueue down;
  polyglot::Lobby lobby;
  polyglot::Counters counters;
  polyglot::Loop loop;
  CommandWriter commands;
  std::string records;

 private:
  std::uint64_t conns_ = 0;
  std::uint64_t subs_ = 0;
  std::uint64_t next_virtual_ = std::uint64_t{1} << 40;
};

}  // namespace check
