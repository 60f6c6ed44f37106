// Topics: opened, changed, read, found idle and closed; apps; and the commands about connections that are small.
#include <algorithm>
#include <variant>

#include "core/engine.h"
#include "log/record.h"
#include "phoenix/frames.h"
#include "phoenix/json_text.h"

namespace polyglot {

namespace {

// A window has no gaps and ends at the newest event. What doesn't, be it empty, is left to the store.
bool continues_to(const std::vector<EventView>& events, std::uint64_t seq) {
  for (auto event = events.rbegin(); event != events.rend(); ++event, --seq) {
    if (event->seq != seq || seq == 0) return false;
  }
  return !events.empty();
}

}  // namespace

Engine::Engine(const EngineSettings& settings, LogWriter* log, Records& records, Counters& counters, Sockets& sockets,
               std::function<std::int64_t()> steady_now)
    : settings_(settings),
      log_(log),
      records_(records),
      counters_(counters),
      sockets_(sockets),
      next_sub_(settings.id_first),
      next_handle_(settings.id_first),
      steady_now_(std::move(steady_now)) {}

Engine::~Engine() = default;

void Engine::begin_turn(std::int64_t wall_us, std::int64_t steady_us) {
  ++turn_;
  answered_ = false;
  wall_us_ = wall_us;
  steady_us_ = steady_us;
  if (next_sweep_us_ == 0) next_sweep_us_ = steady_us + settings_.topic_sweep_us;
}

void Engine::execute(const Command& command) {
  std::visit([this](const auto& found) { run(found); }, command);
}

void Engine::run(const command::ConfigureApp& command) {
  auto& app = apps_[std::string(command.app_id)];
  const bool is_new = !app;
  if (is_new) {
    app = std::make_unique<App>();
    app->id = command.app_id;
    app->tally = &counters_.apps.add(command.app_id);
    app->publishes = Gcra(command.publish_rate, command.publish_rate);
  } else {
    app->publishes.reconfigure(command.publish_rate, command.publish_rate, steady_us_);
  }
  app->payload_bytes = command.payload_bytes;
  app->publishes_per_connection = command.publishes_per_connection;
  app->types_per_ticker = command.types_per_ticker;
  app->events_used_up = command.events_used_up;
  app->bytes_used_up = command.bytes_used_up;
  for (Topic* topic : app->topics) topic->snapshot.rebound(static_cast<std::size_t>(app->types_per_ticker));
}

void Engine::run(const command::OpenTopic& command) {
  if (app(command.app_id) == nullptr || topics_.contains(command.topic)) return;
  auto made = std::make_unique<Topic>();
  Topic& topic = *made;
  topic.id = command.topic;
  topic.app = app(command.app_id);
  topic.names.set(command.app_id, command.channel);
  append_json_string(topic.channel_json, command.channel);
  topic.kind = command.channel.substr(0, command.channel.find(':'));
  topic.event_head_v2 = "[null,null," + topic.channel_json + ",\"event\",";
  topic.event_head_v1 = "{\"topic\":" + topic.channel_json + ",\"event\":\"event\",\"payload\":";
  constexpr std::array<std::string_view, 4> kKinds = {"room", "ticker", "match", "post"};
  const auto kind = std::find(kKinds.begin(), kKinds.end(), topic.kind);
  topic.kind_latency = &counters_.latency[static_cast<std::size_t>(kind - kKinds.begin())];
  topic.policy = command.policy;
  topic.epoch = command.epoch;
  append_channel_key(topic.log_key, command.app_id, command.channel, command.epoch);
  topic.seq = topic.assigned = command.seq;
  topic.window.begin(command.seq, command.policy.history_events, command.policy.history_s);
  topic.snapshot.rebound(static_cast<std::size_t>(topic.app->types_per_ticker));
  touch(topic);
  if (continues_to(command.window, command.seq)) {
    topic.window.clear(command.window[0].seq - 1);
    std::string envelopes;
    std::vector<KeptEvent> kept;
    std::string user;
    for (const EventView& event : command.window) {
      user = "null";
      if (!event.user_id.empty()) {
        user.clear();
        append_json_string(user, event.user_id);
      }
      scratch_.clear();
      time_.append(scratch_, event.ts_us);
      kept.push_back(append_kept_envelope(envelopes, topic.names, event.id, event.type, event.data, event.seq, user,
                                          event.ts_us, scratch_));
      topic.ts_us = std::max(topic.ts_us, event.ts_us);
    }
    const RunRef run = RunRef::of(envelopes);
    for (std::size_t at = 0; at < kept.size(); ++at) {
      kept[at].run = run;
      topic.window.append(kept[at]);
      if (topic.policy.snapshot) topic.snapshot.put(command.window[at].seq, kept[at]);
    }
  }
  for (const command::RecentId& recent : command.recent) {
    topic.dedupe.remember(recent.user_id, recent.id, recent.seq, recent.ts_us);
  }
  topic.app->topics.insert(&topic);
  topics_[topic.id] = std::move(made);
  counters_.topics.set(topics_.size());
}

void Engine::run(const command::SetPolicy& command) {
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) return;
  Topic& topic = *found->second;
  topic.policy = command.policy;
  topic.window.rebound(command.policy.history_events, command.policy.history_s);
  if (!command.policy.snapshot) topic.snapshot.clear();
}

void Engine::run(const command::NewEpoch& command) {
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) return;
  Topic& topic = *found->second;
  commit();  // what this turn has published belongs to the epoch before
  put_published(topic);
  topic.epoch = command.epoch;
  ++topic.epochs;
  topic.waiting_for_log = 0;  // what still does is refused then: it holds up nothing of this epoch
  topic.log_key.clear();
  append_channel_key(topic.log_key, topic.names.app_id, topic.names.channel, topic.epoch);
  topic.seq = topic.assigned = 0;
  topic.window.clear(0);
  topic.dedupe.clear();
  topic.snapshot.clear();
  const std::vector<Sub*> members = topic.members;
  for (Sub* sub : members) {
    if (sub == nullptr || sub->topic != &topic) continue;
    if (sub->stage == Sub::Stage::waiting) {
      sub->asked = false;
      plan(*sub);
    } else {
      end_sub(*sub->conn, sub->id, true);
    }
  }
}

bool Engine::is_idle(Topic& topic) {
  if (topic.member_count > 0 || topic.waiting > 0 || topic.jobs > 0 ||
      steady_us_ - topic.busy_us < settings_.topic_idle_us) {
    return false;
  }
  if (topic.kept_elsewhere()) return true;
  topic.window.expire(wall_us_);
  topic.dedupe.expire(wall_us_);
  return topic.window.size() == 0 && topic.dedupe.empty();
}

void Engine::run(const command::CloseTopic& command) {
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) return;
  Topic& topic = *found->second;
  const bool closed = is_idle(topic);
  topic.told_idle = false;
  if (closed) {
    put_published(topic);
    topic.app->topics.erase(&topic);
    topics_.erase(found);
    counters_.topics.set(topics_.size());
  }
  records_.topic_closed(command.topic, closed);
}

void Engine::sweep() {
  next_sweep_us_ = steady_us_ + settings_.topic_sweep_us;
  for (auto& [id, topic] : topics_) {
    if (!topic->told_idle && is_idle(*topic)) {
      topic->told_idle = true;
      records_.topic_idle(id);
    }
  }
}

void Engine::touch(Topic& topic) {
  topic.busy_us = steady_us_;
  topic.told_idle = false;
}

void Engine::run(const command::ReadWindow& command) {
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) return;
  Topic& topic = *found->second;
  topic.window.expire(wall_us_);
  const std::uint64_t oldest = topic.window.oldest(topic.kept_elsewhere());
  const Window::Page page =
      command.after
          ? topic.window.after(*command.after, command.before.value_or(topic.seq + 1), command.limit, command.bytes_max)
          : topic.window.newest(command.before, command.limit, command.bytes_max, oldest);
  put_published(topic);  // what the page holds is known by then
  records_.window_page(command.request, topic.epoch, topic.seq, topic.window.first(), page.end - page.first);
  for (std::uint64_t seq = page.first; seq < page.end; ++seq) {
    const KeptEvent& event = topic.window.at(seq);
    records_.event(event.id(), topic.names.app_id, topic.names.channel, topic.epoch, seq, event.type(), event.data(),
                   event.user_id(scratch_), event.ts_us);
  }
  records_.window_page_end(page.more);
}

// Puts tombstones in the place of what is meant; whether there may have been any of it.
bool Engine::erase(Topic& topic, const command::Erase& command) {
  std::string scratch;
  const auto is_meant = [&](const KeptEvent& event) {
    return command.user_id.empty() || (event.ts_us <= command.until_us && event.user_id(scratch) == command.user_id);
  };
  std::string envelopes;
  std::vector<std::pair<std::uint64_t, KeptEvent>> stones;
  const std::uint64_t first = std::max(command.first, topic.window.first());
  const std::uint64_t last = std::min(command.last, topic.window.last());
  for (std::uint64_t seq = first; seq <= last; ++seq) {
    const KeptEvent& event = topic.window.at(seq);
    if (!is_meant(event)) continue;
    std::string ts;
    time_.append(ts, event.ts_us);
    stones.emplace_back(
        seq, append_kept_envelope(envelopes, topic.names, event.id(), "erased", "null", seq, "null", event.ts_us, ts));
  }
  const RunRef run = RunRef::of(envelopes);
  for (auto& [seq, stone] : stones) {
    stone.run = run;
    // A tombstone may be larger than a small event was: older ones may have had to give way to those before it.
    if (seq >= topic.window.first()) topic.window.replace(seq, stone);
  }
  std::vector<std::uint64_t> gone;
  for (const auto& [seq, event] : topic.snapshot.events()) {
    if (command.first <= seq && seq <= command.last && is_meant(event)) gone.push_back(seq);
  }
  for (const std::uint64_t seq : gone) topic.snapshot.remove(seq);
  return command.user_id.empty() || !stones.empty() || topic.window.first() > 1;
}

// --- what was published, by position

void Engine::note_published(Topic& topic, const Batch& batch, const Commit& commit) {
  const bool in_log = commit.end > 0;
  if (topic.published_dirty && (topic.published_first > topic.seq || in_log != (topic.published_end > 0))) {
    put_published(topic);  // of deliveries alone, or of a kind that was logged or not
  }
  if (!topic.published_dirty) {
    topic.published_dirty = true;
    topic.published_first = batch.first_seq;
    topic.published_start = in_log ? commit.position + batch.log_from : 0;
    topic.published_size = 0;
    topic.published_ids = false;
    published_.push_back(&topic);
  }
  topic.published_end = in_log ? commit.position + batch.log_to : 0;
  topic.published_size += batch.data_bytes;
  topic.published_ids = topic.published_ids || !batch.ids.empty();
}

void Engine::put_published(Topic& topic) {
  if (!topic.published_dirty) return;
  topic.published_dirty = false;
  PublishedRecord record;
  record.topic = topic.id;
  record.first_seq = topic.published_first;
  record.last_seq = topic.seq;
  record.position = topic.published_end;
  record.size = topic.published_size;
  record.deliveries = topic.published_deliveries;
  record.epoch = topic.epoch;
  record.start = topic.published_start;
  record.ts_us = topic.ts_us;
  record.ids_given = topic.published_ids;
  records_.published(record);
  topic.published_deliveries = 0;
  std::erase(published_, &topic);
}

// A fan-out that took several turns has ended: what it delivered since the last record is told by one without events.
void Engine::note_deliveries(Topic& topic) {
  if (topic.published_dirty || topic.published_deliveries == 0) return;
  topic.published_dirty = true;
  topic.published_ids = false;
  topic.published_first = topic.seq + 1;
  topic.published_start = topic.published_end = topic.published_size = 0;
  published_.push_back(&topic);
}

void Engine::flush_published() {
  const std::vector<Topic*> dirty = std::move(published_);
  published_.clear();
  for (Topic* topic : dirty) put_published(*topic);
  untold_ = first_unreleased();
}

// --- connections

void Engine::run(const command::SetCapabilities& command) {
  Connection* conn = open_connection(command.conn);
  Sub* sub = conn == nullptr ? nullptr : sub_of(*conn, command.sub);
  if (sub == nullptr || sub->topic == nullptr) return;
  sub->may_publish = command.may_publish;
  sub->sees_presence = command.sees_presence;
}

void Engine::run(const command::Reply& command) {
  const auto found = asked_.find(command.reply);
  if (found == asked_.end()) return;
  const Asked asked = std::move(found->second);
  asked_.erase(found);
  Connection& conn = *asked.conn;
  --conn.asked;
  frame_.clear();
  append_reply(frame_, serializer_of(conn.wire), asked.join_ref, asked.ref, asked.topic_json, command.ok,
               command.response);
  send(conn, frame_);
  if (!command.ok) refused(conn, reason_of(command.response));
}

void Engine::run(const command::SendTo& command) {
  Connection* conn = open_connection(command.conn);
  if (conn == nullptr || !is_phoenix(conn->wire)) return;
  Sub* sub = sub_of(*conn, command.sub);
  if (sub == nullptr || sub->state != Sub::State::joined) return;
  std::string event;
  append_json_string(event, command.event);
  frame_.clear();
  append_push(frame_, serializer_of(conn->wire), sub->join_ref, topic_json(*sub), event, command.payload);
  send(*conn, frame_);
}

void Engine::run(const command::Notice& command) {
  if (command.conn) {
    if (Connection* conn = open_connection(*command.conn)) notice(*conn, command.code, command.message);
    return;
  }
  std::vector<Connection*> all;
  for (auto& [id, conn] : connections_) all.push_back(conn.get());
  for (Connection* conn : all) {
    if (conn->closing == Connection::Closing::open) notice(*conn, command.code, command.message);
  }
}

void Engine::run(const command::EndSubscription& command) {
  if (Connection* conn = open_connection(command.conn)) end_sub(*conn, command.sub, command.error);
}

void Engine::run(const command::Disconnect& command) {
  if (Connection* conn = open_connection(command.conn)) close(*conn, command.code, command.reason);
}

void Engine::run(const command::OpenVirtual& command) {
  if (app(command.app_id) == nullptr || connection(command.conn) != nullptr) return;
  const Wire wire = command.serializer == "phoenix-1.0.0"   ? Wire::mail_v1
                    : command.serializer == "phoenix-2.0.0" ? Wire::mail_v2
                    : command.serializer == "sse"           ? Wire::sse
                                                            : Wire::tail;
  connect(command.conn, command.app_id, wire, command.user_id);
}

void Engine::run(const command::Feed& command) {
  Connection* conn = open_connection(command.conn);
  if (conn == nullptr || is_socket(conn->wire)) return;
  for (const std::string_view frame : command.frames) {
    if (conn->closing != Connection::Closing::open) return;
    counters_.frames_in.add();
    counters_.bytes_in.add(frame.size());
    receive(*conn, frame, command.binary);
  }
}

void Engine::run(const command::TakeMail& command) {
  Connection* conn = connection(command.conn);  // also of one whose end has begun: its mail is still to be had
  if (conn == nullptr || is_socket(conn->wire)) return;
  std::vector<std::string> frames;
  std::size_t bytes = 0;
  conn->outbox.take(command.bytes_max, [&](std::string_view frame) {
    bytes += frame.size();
    frames.emplace_back(frame);
  });
  counters_.frames_out.add(frames.size());
  counters_.bytes_out.add(bytes);
  conn->mail_told = !conn->outbox.empty();
  records_.mail(command.request, frames);
  if (conn->closing == Connection::Closing::open) {
    drained(*conn);
  } else if (conn->outbox.empty()) {
    gone(*conn);
  }
}

}  // namespace polyglot
