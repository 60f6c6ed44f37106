// Large batches of the gateway, which members get bit by bit: as much in one turn as they can take without losing any of
// it, each app's by themselves, and apps by turns. Nothing here for what members publish: their sockets are not read.
#include <algorithm>
#include <utility>

#include "core/engine.h"

namespace polyglot {

namespace {

// What of an app's batches goes to members in one turn: half of what a member of a dropping kind keeps of a topic.
constexpr std::size_t kEventsATurn = 32;
constexpr std::size_t kBytesATurn = 64 << 10;
constexpr std::size_t kQueuedEventsATurn = 512;  // of kinds that queue
constexpr std::size_t kQueuedBytesATurn = 256 << 10;
constexpr std::size_t kAllBytesATurn = 512 << 10;  // of all apps: more of them wait for another turn
constexpr std::int64_t kPatienceUs = 5'000;  // for members to take what they have, before they get more
constexpr std::size_t kMembersSeen = 256;  // topics with more are slow enough by themselves
// What may wait: eight of the largest batches, shared by the apps that have any; one of them each may have at least.
constexpr std::size_t kWaitingBytes = 64 << 20;
constexpr std::size_t kWaitingBytesLeast = 8 << 20;

}  // namespace

Pace& Engine::pace_of(App& app) const {
  if (!app.pace) app.pace = std::make_unique<Pace>();
  Pace& pace = *app.pace;
  if (pace.turn != turn_) {
    pace.turn = turn_;
    pace.events = pace.bytes = 0;
  }
  return pace;
}

void Engine::run(const command::Publish& command) {
  auto request = std::make_shared<PublishRequest>();
  request->request = command.request;
  request->results.resize(command.items.size());
  request->missing = command.items.size();
  if (command.items.empty()) {
    records_.publish_results(command.request, {});
    return;
  }
  for (std::uint32_t place = 0; place < command.items.size(); ++place) {
    const command::PublishItem& item = command.items[place];
    const auto found = topics_.find(item.topic);
    if (found == topics_.end() || found->second->member_count == 0) {
      publish_item(request, place, item);
      continue;
    }
    App& app = *found->second->app;
    Pace& pace = pace_of(app);
    if (pace.items.empty() && may_publish_now(pace, *found->second, item.data.size())) {
      pace.last_us = steady_us_;
      count_paced(pace, item.data.size());
      publish_item(request, place, item);
      continue;
    }
    const std::size_t most = std::max(kWaitingBytes / std::max<std::size_t>(1, paced_apps_.size()), kWaitingBytesLeast);
    const std::size_t size = item.data.size() + kEnvelopeBytes;
    if (!pace.items.empty() && pace.waiting + size > most) {
      Answer answer;
      answer.request = request;
      answer.place = place;
      PublishResult& result = request->results[place];
      result.reason = "unavailable";
      result.message = "too many events wait for their turn";
      result.retry_after_ms = 1000;
      counters_.count_refusal("unavailable");
      finish_item(answer);
      continue;
    }
    if (pace.items.empty()) paced_apps_.push_back(&app);
    pace.waiting += size;
    pace.items.push_back(PacedItem{request, place, item.topic, std::string(item.type), std::string(item.data),
                                   std::string(item.id), std::string(item.user_id)});
  }
}

void Engine::count_paced(Pace& pace, std::size_t size) {
  ++pace.events;
  pace.bytes += size + kEnvelopeBytes;
}

bool Engine::may_publish_now(const Pace& pace, const Topic& topic, std::size_t size) const {
  if (is_behind(*topic.app)) return false;
  const bool queues = topic.policy.overflow == Overflow::queue;
  return pace.events < (queues ? kQueuedEventsATurn : kEventsATurn) &&
         (pace.events == 0 || pace.bytes + size <= (queues ? kQueuedBytesATurn : kBytesATurn));
}

// Whether the topic's members had better take what they have first.
bool Engine::members_are_behind(const Topic& topic) const {
  if (topic.members.size() > kMembersSeen) return false;
  const std::size_t bound = topic.policy.overflow == Overflow::queue ? Outbox::kLowWater : 0;
  return std::any_of(topic.members.begin(), topic.members.end(), [bound](const Sub* sub) {
    return sub != nullptr && is_socket(sub->conn->wire) && sub->conn->outbox.bytes() > bound;
  });
}

void Engine::run_paced() {
  paced_ready_ = paced_waits_ = false;
  std::size_t bytes = 0;
  for (std::size_t left = paced_apps_.size(); left > 0; --left) {
    if (bytes >= kAllBytesATurn) {
      paced_ready_ = true;
      return;
    }
    App& app = *paced_apps_.front();
    paced_apps_.pop_front();
    bytes += run_paced(app);
    if (!app.pace->items.empty()) paced_apps_.push_back(&app);
  }
}

// How many bytes went.
std::size_t Engine::run_paced(App& app) {
  Pace& pace = pace_of(app);
  const std::size_t before = pace.bytes;
  while (!pace.items.empty()) {
    const auto found = topics_.find(pace.items.front().topic);
    const std::size_t size = pace.items.front().data.size();
    if (found != topics_.end()) {
      if (!may_publish_now(pace, *found->second, size)) {
        paced_ready_ = true;
        break;
      }
      if (members_are_behind(*found->second) && steady_us_ - pace.last_us < kPatienceUs) {
        paced_waits_ = true;
        break;
      }
      if (pace.events == 0) pace.last_us = steady_us_;
    }
    const PacedItem next = std::move(pace.items.front());
    pace.items.pop_front();
    pace.waiting -= size + kEnvelopeBytes;
    count_paced(pace, size);
    publish_item(next.request, next.place,
                 command::PublishItem{next.topic, next.type, next.data, next.id, next.user_id});
  }
  return pace.bytes - before;
}

}  // namespace polyglot
