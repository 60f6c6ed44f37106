// From a topic's batch to its members: one run of frames for each sort of connection, shared by all that have it, and
// for topics of many members a slice of them each turn, so that other topics need not wait.
#include <algorithm>
#include <array>

#include "core/engine.h"
#include "phoenix/json_text.h"
#include "websocket/frame_writer.h"

namespace polyglot {

namespace {

constexpr std::string_view kErased = "\"erased\"";
constexpr std::size_t kSliceMembers = 16;  // of topics with more than are served at once: others wait for some 0.1 ms
constexpr std::size_t kSliceBytes = 1 << 20;  // of all their frames together; one member gets any size

std::size_t members_of_a_slice(const Fanout& fanout, std::size_t most) {
  return std::clamp<std::size_t>(kSliceBytes / std::max<std::size_t>(1, fanout.bytes), 1, most);
}

void append_framed(std::string& out, std::string_view head, std::string_view payload, std::string_view tail) {
  char frame_head[kFrameHeadBytesMax];
  out.append(frame_head, write_frame_head(frame_head, Opcode::text, head.size() + payload.size() + tail.size()));
  out.append(head).append(payload).append(tail);
}

// A publisher's JSON may hold line ends as whitespace. To SSE each ends a line.
void append_sse_data(std::string& out, std::string_view payload) {
  out += "data: ";
  for (std::size_t at = 0; at < payload.size(); ++at) {
    if (payload[at] == '\r') {
      if (at + 1 < payload.size() && payload[at + 1] == '\n') ++at;
      out += "\ndata: ";
    } else if (payload[at] == '\n') {
      out += "\ndata: ";
    } else {
      out += payload[at];
    }
  }
  out += "\n\n";
}

}  // namespace

void Engine::append_event_frame(std::string& out, Wire wire, const Topic& topic, std::uint64_t seq,
                                std::string_view envelope) const {
  switch (wire) {
    case Wire::socket_v2:
      append_framed(out, topic.event_head_v2, envelope, "]");
      break;
    case Wire::socket_v1:
      append_framed(out, topic.event_head_v1, envelope, ",\"ref\":null}");
      break;
    case Wire::mail_v2:
      out.append(topic.event_head_v2).append(envelope).append("]");
      break;
    case Wire::mail_v1:
      out.append(topic.event_head_v1).append(envelope).append(",\"ref\":null}");
      break;
    case Wire::sse:
      out.append("id: ").append(topic.epoch).append(":").append(std::to_string(seq)).append("\n");
      append_sse_data(out, envelope);
      break;
    case Wire::tail:
      out.append("{\"event\":").append(envelope).append(",\"cursor\":\"").append(topic.epoch).append(":");
      out.append(std::to_string(seq)).append("\"}");
      break;
  }
}

bool Engine::append_message_frame(std::string& out, Wire wire, const Topic& topic, std::string_view event_json,
                                  std::string_view payload) const {
  if (!is_phoenix(wire)) {  // streams get events and notices, and hear of events that were erased
    if (event_json != kErased) return false;
    if (wire == Wire::sse) {
      out += "event: erased\n";
      append_sse_data(out, payload);
    } else {
      out.append("{\"erased\":").append(payload).append("}");
    }
    return true;
  }
  std::string head;
  std::string_view tail = "]";
  if (serializer_of(wire) == Serializer::v2) {
    head.append("[null,null,").append(topic.channel_json).append(",").append(event_json).append(",");
  } else {
    head.append("{\"topic\":").append(topic.channel_json).append(",\"event\":").append(event_json);
    head.append(",\"payload\":");
    tail = ",\"ref\":null}";
  }
  if (is_socket(wire)) {
    append_framed(out, head, payload, tail);
  } else {
    out.append(head).append(payload).append(tail);
  }
  return true;
}

void Engine::build_runs(Fanout& fanout, const RunRef& canonical, std::vector<std::uint32_t> ends) {
  const Topic& topic = *fanout.topic;
  for (std::size_t at = 0; at < kWires; ++at) {
    const auto wire = static_cast<Wire>(at);
    if (wire == Wire::socket_v2 || topic.members_of[at] == 0) continue;
    frame_.clear();
    fanout.ends[at].reserve(fanout.entries.size());
    for (const Entry& entry : fanout.entries) {
      const std::string_view payload = canonical->view(entry.payload_at, entry.payload_size);
      if (entry.seq > 0) {
        append_event_frame(frame_, wire, topic, entry.seq, payload);
      } else {
        append_message_frame(frame_, wire, topic, "\"signal\"", payload);
      }
      fanout.ends[at].push_back(static_cast<std::uint32_t>(frame_.size()));
    }
    fanout.runs[at] = RunRef::of(frame_);
  }
  fanout.runs[index_of(Wire::socket_v2)] = canonical;
  fanout.ends[index_of(Wire::socket_v2)] = std::move(ends);
}

void Engine::run(const command::Broadcast& command) {
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) return;
  std::string event;
  append_json_string(event, command.event);
  broadcast(*found->second, event, command.payload, command.presence_only);
}

void Engine::run(const command::Erase& command) {
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) return;
  Topic& topic = *found->second;
  if (!command.epoch.empty() && command.epoch != topic.epoch) return;
  const bool was_there = erase(topic, command);
  if (was_there && !command.payload.empty()) broadcast(topic, kErased, command.payload, false);
}

// A message without a seq, which never gives way.
void Engine::broadcast(Topic& topic, std::string_view event_json, std::string_view payload, bool presence_only) {
  if (topic.member_count == 0) return;
  auto fanout = FanoutRef::make();
  fanout->topic = &topic;
  fanout->control = true;
  fanout->presence_only = presence_only;
  for (std::size_t at = 0; at < kWires; ++at) {
    if (topic.members_of[at] == 0) continue;
    frame_.clear();
    if (!append_message_frame(frame_, static_cast<Wire>(at), topic, event_json, payload)) continue;
    fanout->runs[at] = RunRef::of(frame_);
    fanout->ends[at] = {static_cast<std::uint32_t>(frame_.size())};
  }
  fanout->entries.resize(1);
  fanout->generation = ++topic.generation;
  begin_fanout(fanout);
}

// Serves few members at once, and begins to serve many, or few with much.
void Engine::begin_fanout(const FanoutRef& fanout) {
  Topic& topic = *fanout->topic;
  ++topic.jobs;
  for (const RunRef& run : fanout->runs) {
    if (run) fanout->bytes = std::max<std::size_t>(fanout->bytes, run->size());
  }
  if (topic.jobs == 1 && topic.members.size() <= std::min(kServedAtOnce, members_of_a_slice(*fanout, kServedAtOnce))) {
    current_ = fanout;
    run_slice(*fanout, topic.members.size());
    current_.reset();
    return;
  }
  App& app = *topic.app;
  if (app.jobs.empty()) jobs_apps_.push_back(&app);
  app.jobs.push_back(fanout);
  app.jobs_bytes += fanout->bytes;
}

// True: done. Holes that leaving members left cost next to nothing, and so no turns.
bool Engine::run_slice(Fanout& fanout, std::size_t members) {
  Topic& topic = *fanout.topic;
  for (std::size_t served = 0; served < members && fanout.next < topic.members.size();) {
    Sub* sub = topic.members[fanout.next++];
    if (sub == nullptr) continue;
    ++served;
    if (sub->born < fanout.generation) offer(*sub, current_);
  }
  if (fanout.next < topic.members.size()) return false;
  if (--topic.jobs == 0 && topic.member_count < topic.members.size()) {  // close the holes that leaving members left
    std::size_t kept = 0;
    for (Sub* sub : topic.members) {
      if (sub == nullptr) continue;
      sub->slot = static_cast<std::uint32_t>(kept);
      topic.members[kept++] = sub;
    }
    topic.members.resize(kept);
  }
  note_deliveries(topic);
  if (!fanout.control) finished_.push_back(current_);
  return true;
}

// One slice a turn: apps by turns, an app's topics by turns, and a topic's own runs in their order.
void Engine::run_jobs() {
  if (jobs_apps_.empty()) return;
  App& app = *jobs_apps_.front();
  jobs_apps_.pop_front();
  current_ = std::move(app.jobs.front());  // the first of all, so the first of its topic
  app.jobs.pop_front();
  if (run_slice(*current_, members_of_a_slice(*current_, kSliceMembers))) {
    app.jobs_bytes -= current_->bytes;
  } else {  // back to its topic's place: before the topic's other runs, behind other topics'
    const auto own = std::find_if(app.jobs.begin(), app.jobs.end(),
                                  [this](const auto& job) { return job->topic == current_->topic; });
    app.jobs.insert(own, current_);
  }
  current_.reset();
  if (!app.jobs.empty()) jobs_apps_.push_back(&app);
}

void Engine::offer(Sub& sub, const FanoutRef& fanout) {
  if (sub.stage == Sub::Stage::waiting) return;
  Connection& conn = *sub.conn;
  const RunRef& run = fanout->runs[index_of(conn.wire)];
  if (!run || conn.closing != Connection::Closing::open) return;
  if (fanout->control) {
    if (fanout->presence_only && !sub.sees_presence) return;
    if (conn.turn)
      settle_turn(conn);  // what is queued now must not overtake the turn's events, nor must what follows it
    const bool taken = conn.outbox.put_control({run, 0, run->size()});
    mark_dirty(conn);
    counters_.deliveries.add();
    if (!taken) overflowed_.push_back(&conn);
    return;
  }
  const auto count = static_cast<std::uint32_t>(fanout->entries.size());
  const bool live = sub.stage == Sub::Stage::live;
  if (live && sub.echo && (fanout->first_seq == 0 || fanout->first_seq > sub.cursor)) {
    put_range(conn, fanout, 0, count);
    fanout->topic->published_deliveries += fanout->events;
    return;
  }
  for (std::uint32_t at = 0; at < count; ++at) {
    const Entry& entry = fanout->entries[at];
    const bool own = !sub.echo && entry.origin == sub.id;
    if (entry.seq > 0 && !live) {
      if (own) {
        if (!sub.own) sub.own = std::make_unique<std::set<std::uint64_t>>();
        sub.own->insert(entry.seq);
      }
      continue;
    }
    if (own || (entry.seq > 0 && entry.seq <= sub.cursor)) continue;  // its own, or had while it caught up
    put_range(conn, fanout, at, at + 1);
    if (entry.seq > 0) fanout->topic->published_deliveries += 1;
  }
}

void Engine::put_range(Connection& conn, const FanoutRef& fanout, std::uint32_t from, std::uint32_t to) {
  if (fanout->end_of(conn.wire, to - 1) == fanout->begin_of(conn.wire, from)) return;  // nothing for this sort
  counters_.deliveries.add(to - from);
  conn.app->tally->deliveries.add(to - from);
  if (is_socket(conn.wire) && conn.outbox.empty()) {
    std::vector<TurnOut::Fresh>& fresh = turn_of(conn).fresh;
    if (!fresh.empty() && fresh.back().fanout == fanout && fresh.back().to == from) {
      fresh.back().to = to;
    } else {
      fresh.push_back({fanout, from, to});
    }
    return;
  }
  settle_range(conn, *fanout, from, to);
}

// Queues what the socket does not take now, as the kind's policy says.
void Engine::settle_range(Connection& conn, const Fanout& fanout, std::uint32_t from, std::uint32_t to) {
  const RunRef& run = fanout.runs[index_of(conn.wire)];
  bool taken = true;
  if (fanout.overflow == Overflow::queue && is_socket(conn.wire)) {
    const std::uint32_t begin = fanout.begin_of(conn.wire, from);
    taken = conn.outbox.put_event(Overflow::queue, fanout.topic->id, {},
                                  {run, begin, fanout.end_of(conn.wire, to - 1) - begin});
  } else {
    for (std::uint32_t at = from; at < to && taken; ++at) {
      const std::uint32_t begin = fanout.begin_of(conn.wire, at);
      const std::uint32_t size = fanout.end_of(conn.wire, at) - begin;
      if (size == 0) continue;
      taken =
          conn.outbox.put_event(fanout.overflow, fanout.topic->id, fanout.type(fanout.entries[at]), {run, begin, size});
    }
  }
  mark_dirty(conn);
  if (!taken) {
    overflowed_.push_back(&conn);
  } else {
    check_slow(conn);
  }
}

// The socket took `sent` bytes of what was fresh; the rest waits.
void Engine::settle_fresh(Connection& conn, const TurnOut::Fresh& fresh, std::size_t sent) {
  const Fanout& fanout = *fresh.fanout;
  std::uint32_t from = fresh.from;
  const std::uint32_t begin = fanout.begin_of(conn.wire, from);
  while (from < fresh.to && fanout.end_of(conn.wire, from) - begin <= sent) ++from;
  if (from == fresh.to) return;
  const std::uint32_t next = fanout.begin_of(conn.wire, from);
  if (next - begin < sent) {  // a frame that was begun has to be ended
    const auto done = static_cast<std::uint32_t>(sent);
    const std::uint32_t end = fanout.end_of(conn.wire, from);
    conn.outbox.put_begun({fanout.runs[index_of(conn.wire)], begin + done, end - begin - done});
    ++from;
  }
  if (from < fresh.to) settle_range(conn, fanout, from, fresh.to);
}

void Engine::end_turn() {
  run_paced();
  commit();
  while (!synced_.empty()) {
    release(synced_.front());
    synced_.pop_front();
  }
  run_jobs();
  if (steady_us_ >= next_sweep_us_) sweep();
}

void Engine::flushed() {
  while (!overflowed_.empty()) {  // not from within a fan-out: it ends members' subs
    Connection* slow = overflowed_.back();
    overflowed_.pop_back();
    overflow(*slow);
  }
  if (!finished_.empty()) {
    for (const auto& fanout : finished_) {
      for (const Entry& entry : fanout->entries) {
        const std::int64_t took = steady_now_() - entry.received_us;
        fanout->topic->kind_latency->add(took);
        fanout->topic->app->tally->latency.add(took);
      }
    }
    finished_.clear();
  }
}

void Engine::free_dead() {
  dead_subs_.clear();
  std::erase_if(dead_, [](const auto& conn) { return conn->pending == 0 && !conn->dirty; });
}

}  // namespace polyglot
