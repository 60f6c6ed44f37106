// What a client makes the driver keep for it counts against its app's bound, events or not.
#include <string>

#include "check.h"
#include "engine_world.h"

namespace {

TEST("answers that nobody reads count against the bound of their app, and its slowest are closed") {
  polyglot::EngineSettings settings;
  settings.app_queued_bytes_max = 1 << 20;
  check::EngineWorld world(settings);
  world.open(1, "room:a", false);
  world.turn();
  constexpr std::uint64_t kClients = 40;
  for (std::uint64_t conn = 1; conn <= kClients; ++conn) world.member(conn, 1, "room:a");
  for (std::uint64_t conn = 1; conn <= kClients; ++conn) {
    world.commands.send_to(conn, conn, "presence_state", '"' + std::string(100'000, 'x') + '"');
    world.turn();
  }
  CHECK(world.counters.outboxes.queued_bytes.get() < 1'300'000);
  CHECK(world.counters.slow_consumers.get() > 0);
  CHECK(world.engine.connection(1)->closing == polyglot::Connection::Closing::open);
}

}  // namespace
