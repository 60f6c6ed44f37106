// Several apps in one loop: what one may have of a turn, and that whoever waits gets its turn.
#include <string>
#include <vector>

#include "fair_world.h"

namespace {

using check::FairWorld;

polyglot::LoopSettings small_parts() {
  polyglot::LoopSettings settings;
  settings.app_turn_messages = 20;
  return settings;
}

TEST("an app that floods is read in parts while another has a word to say, and all of it in the end") {
  FairWorld world(small_parts());
  world.open(1, "a", "room:a");
  world.open(2, "b", "room:b");
  const auto loud = world.member("a", 1, "room:a");
  const auto quiet = world.member("b", 2, "room:b");
  for (int left = 500; left > 0; --left) FairWorld::publish(*loud, "room:a");
  std::uint64_t before = world.events_of("a");
  for (std::uint64_t number = 1; number <= 5; ++number) {
    FairWorld::publish(*quiet, "room:b");
    world.turn();
    CHECK_EQ(world.events_of("b"), number);  // in the turn in which it came
    CHECK(world.events_of("a") > before);
    CHECK(world.events_of("a") - before <= 20);
    before = world.events_of("a");
  }
  for (int left = 500; left > 0 && world.events_of("a") < 500; --left) world.turn();
  CHECK_EQ(world.events_of("a"), 500u);
  CHECK_EQ(FairWorld::count(loud->to_client, "phx_reply"), 500u);
}

TEST("an app that is alone may have more of a turn") {
  FairWorld world(small_parts());
  world.open(1, "a", "room:a");
  const auto loud = world.member("a", 1, "room:a");
  for (int left = 500; left > 0; --left) FairWorld::publish(*loud, "room:a");
  world.turn();
  CHECK(world.events_of("a") > 20);
}

TEST("of the connections of a flooding app none starves another") {
  polyglot::LoopSettings settings = small_parts();
  settings.app_alone_times = 1;
  FairWorld world(settings);
  std::vector<std::shared_ptr<FairWorld::Socket>> sockets;
  const std::vector<std::string> channels = {"room:0", "room:1", "room:2", "room:3"};
  for (std::uint64_t topic = 0; topic < channels.size(); ++topic) {
    world.open(1 + topic, "a", channels[topic]);
    sockets.push_back(world.member("a", 1 + topic, channels[topic]));
  }
  for (int turn = 0; turn < 12; ++turn) {
    for (std::size_t at = 0; at < sockets.size(); ++at) {
      while (sockets[at]->to_server.size() < 20'000) FairWorld::publish(*sockets[at], channels[at]);
    }
    world.turn();
  }
  for (const auto& socket : sockets) CHECK(FairWorld::count(socket->to_client, "phx_reply") >= 20);
}

TEST("large messages are read by their bytes, at least one a turn") {
  polyglot::LoopSettings settings;
  settings.app_turn_bytes = 100'000;
  settings.app_alone_times = 1;
  FairWorld world(settings);
  world.open(1, "a", "room:a");
  const auto loud = world.member("a", 1, "room:a");
  for (int left = 10; left > 0; --left) FairWorld::publish(*loud, "room:a", 60'000);
  std::uint64_t before = 0;
  for (int turn = 0; turn < 30; ++turn) {
    world.turn();
    CHECK(world.events_of("a") - before <= 2);
    before = world.events_of("a");
  }
  CHECK_EQ(before, 10u);
}

TEST("what goes to many members in all is cut in slices, by bytes as well") {
  FairWorld world({});
  world.open(1, "a", "room:a");
  world.open(2, "b", "room:b");
  const auto loud = world.member("a", 1, "room:a");
  const auto quiet = world.member("b", 2, "room:b");
  world.crowd("a", 1, 200);  // few enough to be served at once with what is small
  FairWorld::publish(*loud, "room:a");
  world.turn();
  CHECK_EQ(world.deliveries_of("a"), 201u);
  FairWorld::publish(*loud, "room:a", 60'000);
  world.turn();
  CHECK(world.deliveries_of("a") < 201 + 20);
  FairWorld::publish(*quiet, "room:b");
  world.turn();
  CHECK_EQ(world.deliveries_of("b"), 1u);
  CHECK(world.deliveries_of("a") < 201 + 40);
  world.turns(20);
  CHECK_EQ(world.deliveries_of("a"), 402u);
}

TEST("slices of one app's many fan-outs go by turns with those of another") {
  FairWorld world({});
  for (std::uint64_t topic = 1; topic <= 10; ++topic) {
    world.open(topic, "a", "room:" + std::to_string(topic));
    world.crowd("a", topic, 300);
  }
  world.open(11, "b", "room:11");
  world.crowd("b", 11, 300);
  for (std::uint64_t topic = 1; topic <= 11; ++topic) world.commands.publish(topic, {{topic, "t", "1", "", ""}});
  world.turns(38);  // 300 members are 19 slices, every second of which is the other app's
  CHECK_EQ(world.deliveries_of("b"), 300u);
  CHECK(world.deliveries_of("a") <= 19 * 16);
  world.turns(200);
  CHECK_EQ(world.deliveries_of("a"), 3000u);
}

TEST("an app with too many fan-outs under way is not read until some are through") {
  FairWorld world({});
  world.open(1, "a", "room:a");
  const auto loud = world.member("a", 1, "room:a");
  world.crowd("a", 1, 2000);
  for (int left = 300; left > 0; --left) {
    FairWorld::publish(*loud, "room:a", 60'000);
    world.turn();
    CHECK(world.loop.engine().app("a")->jobs_bytes < (5u << 20));
  }
  CHECK(loud->to_server.size() > 1 << 20);  // it waits where it is
}

TEST("a large batch of one app lets another app's publish through at once") {
  FairWorld world({});
  world.open(1, "a", "room:a");
  world.open(2, "b", "room:b");
  world.crowd("a", 1, 1);
  world.crowd("b", 2, 1);
  const std::string data = '"' + std::string(60'000, 'x') + '"';
  world.commands.publish(1, std::vector<check::CommandWriter::Item>(200, {1, "t", data, "", ""}));
  world.commands.publish(2, {{2, "t", data, "", ""}});
  world.turn();
  CHECK_EQ(world.events_of("b"), 1u);
  CHECK(world.events_of("a") < 10);
  world.turns(100);
  CHECK_EQ(world.events_of("a"), 200u);
}

}  // namespace
