// Python does not take its records: who is read up to where, and that nothing is lost and nobody closed meanwhile.
#include <string>

#include "fair_world.h"

namespace {

using check::FairWorld;

constexpr std::size_t kMost = 80;

// Two apps with a client each; what they push is Python's to answer, a record each.
struct Behind : FairWorld {
  explicit Behind(std::size_t bytes_max = 1 << 20) : FairWorld(settings(bytes_max)) {
    open(1, "a", "room:a");
    open(2, "b", "room:b");
    loud = member("a", 1, "room:a");
    quiet = member("b", 2, "room:b");
  }
  static polyglot::LoopSettings settings(std::size_t bytes_max) {
    polyglot::LoopSettings settings;
    settings.records_unread_max = kMost;
    settings.records_unread_bytes_max = bytes_max;
    return settings;
  }
  void ask(Socket& socket, const char* channel, int count, std::size_t size = 0) {
    while (count-- > 0) push(socket, channel, "history", "{\"x\":\"" + std::string(size, 'x') + "\"}");
  }
  std::shared_ptr<Socket> loud;
  std::shared_ptr<Socket> quiet;
};

TEST("above half of the records only apps within their share are read, when they are full nobody is, none is lost") {
  Behind world;
  world.ask(*world.loud, "room:a", 200);
  world.turns(10);
  CHECK_EQ(world.up.unread(), kMost / 2);
  world.ask(*world.quiet, "room:b", 10);
  world.turns(10);
  CHECK_EQ(world.up.unread(), kMost / 2 + 10);
  world.ask(*world.quiet, "room:b", 100);
  world.turns(10);
  CHECK_EQ(world.up.unread(), kMost / 2 + kMost / 4);  // it has its share too: of two apps
  std::size_t taken = world.drain();
  for (int left = 20; left > 0; --left) {
    world.turns(5);
    taken += world.drain();
  }
  CHECK_EQ(taken, 200u + 110u);
}

TEST("the shares are of bytes as well") {
  Behind world(100'000);
  world.ask(*world.loud, "room:a", 30, 10'000);
  world.turns(10);
  CHECK(world.up.unread_bytes() > 50'000);
  CHECK(world.up.unread_bytes() < 70'000);
  world.ask(*world.quiet, "room:b", 1, 100);
  const std::size_t before = world.up.unread();
  world.turns(10);
  CHECK_EQ(world.up.unread(), before + 1);
}

TEST("who is not read for its app's share is not closed for its silence, and goes on when Python has taken") {
  Behind world;
  world.ask(*world.loud, "room:a", 100);
  world.turns(10);
  for (int minute = 0; minute < 5; ++minute) {
    world.kernel.pass(61'000'000);
    FairWorld::push(*world.quiet, "phoenix", "heartbeat", "{}");
    world.turns(3);
  }
  CHECK(!world.loud->server_ended);
  std::size_t taken = world.drain();
  world.turns(5);
  taken += world.drain();
  world.turns(5);
  taken += world.drain();
  CHECK_EQ(taken, 100u);
}

TEST("a head that comes while the records are full waits unread, however long, and no longer") {
  Behind world;
  for (int app = 0; app < 2; ++app)
    world.ask(app == 0 ? *world.loud : *world.quiet, app == 0 ? "room:a" : "room:b", 100);
  auto early = world.kernel.connect();
  early->to_server = "GET /socket/web";
  world.turns(2);
  const auto third = [&world] {  // another app takes the rest
    for (std::uint64_t topic = 10; topic < 60; ++topic) world.commands.publish(topic, {{topic, "t", "1", "", ""}});
  };
  third();
  world.turns(3);
  CHECK(world.up.unread() >= kMost);
  early->to_server = world.knock()->to_server;
  world.turns(3);
  const std::size_t full = world.up.unread();
  for (int left = 5; left > 0; --left) {
    world.kernel.pass(9'000'000);
    world.turns(2);
  }
  CHECK_EQ(world.up.unread(), full);
  CHECK(!early->server_ended);
  world.drain();
  world.turns(3);
  world.drain();
  CHECK(world.records.find("vsn=2.0.0") != std::string::npos);
}

}  // namespace
