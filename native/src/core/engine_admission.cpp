// How a sub becomes a member, and catches up with its channel. Reference: polyglotd/plane/asgi/admission.py.
#include <algorithm>

#include "core/engine.h"
#include "phoenix/frames.h"
#include "phoenix/json_text.h"
#include "websocket/frame_writer.h"

namespace polyglot {

namespace {

constexpr std::size_t kJoinEventsMax = 1000;  // events in a join's reply; the rest follow as pushes
constexpr std::size_t kJoinBytesMax = 1 << 20;
constexpr std::int64_t kNotRecoveredEvents = 100;  // the newest that come by default where resuming failed
constexpr std::size_t kPageEventsMax = 1000;  // of what follows a join's reply: pushed, then the outbox must drain
constexpr std::size_t kPageBytesMax = 128 << 10;
constexpr std::uint64_t kNoBound = ~std::uint64_t{0};

void append_number(std::string& out, std::uint64_t value) { out += std::to_string(value); }

// What a join gets: whether it is recovered (-1: not asked), and the seq before the first event to send.
// Reference: polyglotd/channels/recovery.py.
void plan_join(Sub& sub, const Topic& topic, std::uint64_t oldest) {
  std::int64_t count = std::max<std::int64_t>(0, sub.history);
  sub.recovered = -1;
  if (sub.has_since) {
    const Joining& asked = *sub.joining;
    const auto since = static_cast<std::uint64_t>(asked.since_seq);
    if (asked.since_epoch == topic.epoch && asked.since_seq >= 0 && since <= topic.seq && since + 1 >= oldest) {
      sub.recovered = 1;
      sub.cursor = since;
      return;
    }
    sub.recovered = 0;
    count = sub.history < 0 ? kNotRecoveredEvents : sub.history;
  }
  const auto wanted = static_cast<std::uint64_t>(count);
  const std::uint64_t from = topic.seq > wanted ? topic.seq - wanted : 0;
  sub.cursor = std::min(topic.seq, std::max(from, oldest - 1));
}

}  // namespace

void Engine::run(const command::Admit& command) {
  Connection* conn = open_connection(command.conn);
  if (conn == nullptr) return;
  Sub* sub = sub_of(*conn, command.sub);
  if (is_phoenix(conn->wire)) {
    if (sub == nullptr || sub->state != Sub::State::joining || sub->topic != nullptr) return;
  } else if (sub != nullptr) {
    return;
  }
  const auto found = topics_.find(command.topic);
  if (found == topics_.end()) {
    if (sub == nullptr) return;
    Refusal refusal{"unavailable", "the channel has just closed"};
    refusal.retry_after_ms = 1000;
    std::string response;
    append_refusal(response, refusal);
    run(command::RefuseJoin{command.conn, command.sub, response});
    return;
  }
  Topic& topic = *found->second;
  if (sub == nullptr) {  // a stream: the gateway's own number
    auto made = std::make_unique<Sub>();
    sub = made.get();
    sub->id = command.sub;
    sub->conn = conn;
    sub->joining = std::make_unique<Joining>();
    ++conn->joining;
    conn->subs.push_back(std::move(made));
  }
  sub->topic = &topic;
  sub->may_publish = command.may_publish;
  sub->sees_presence = command.sees_presence;
  sub->echo = command.echo;
  sub->has_since = command.has_since;
  sub->joining->since_epoch = command.since_epoch;
  sub->joining->since_seq = command.since_seq;
  sub->history = command.history.value_or(-1);
  sub->slot = static_cast<std::uint32_t>(topic.members.size());
  sub->born = topic.generation;
  if (sub->name == topic.names.channel) {
    sub->name.clear();
    sub->name.shrink_to_fit();
  }
  topic.members.push_back(sub);
  ++topic.member_count;
  ++topic.members_of[index_of(conn->wire)];
  touch(topic);
  plan(*sub);
}

void Engine::run(const command::RefuseJoin& command) {
  Connection* conn = open_connection(command.conn);
  if (conn == nullptr || !is_phoenix(conn->wire)) return;
  Sub* sub = sub_of(*conn, command.sub);
  if (sub == nullptr || sub->state != Sub::State::joining) return;
  answer_join(*sub, false, command.response);
  if (conn->closing != Connection::Closing::open) return;
  if (sub->topic != nullptr) drop(*sub, "ended");
  remove(*sub);
  refused(*conn, reason_of(command.response));
}

void Engine::plan(Sub& sub) {
  Topic& topic = *sub.topic;
  topic.window.expire(wall_us_);
  plan_join(sub, topic, topic.window.oldest(topic.kept_elsewhere()));
  join_from_window(sub);
}

void Engine::join_from_window(Sub& sub) {
  const Window& window = sub.topic->window;
  if (!window.covers(sub.cursor)) {
    ask(sub, kJoinEventsMax, kJoinBytesMax);
    return;
  }
  const Window::Page page = window.after(sub.cursor, kNoBound, kJoinEventsMax, kJoinBytesMax);
  const auto append = [&](std::string& out) {
    for (std::uint64_t seq = page.first; seq < page.end; ++seq) {
      if (seq > page.first) out += ',';
      out += window.at(seq).envelope();
    }
  };
  complete_join(sub, append, page.end > page.first ? page.end - 1 : 0, [&] { push_window(sub, page); });
}

void Engine::run(const command::Backfill& command) {
  Connection* conn = open_connection(command.conn);
  Sub* sub = conn == nullptr ? nullptr : sub_of(*conn, command.sub);
  if (sub == nullptr || sub->topic == nullptr || !sub->asked) return;
  sub->asked = false;
  std::size_t count = 0;  // up to the first gap: what follows it was not asked for
  if (!command.gone) {
    while (count < command.events.size() && command.events[count].seq == command.events[0].seq + count) ++count;
  }
  if (sub->stage == Sub::Stage::waiting) {
    backfill_join(*sub, command.events, count);
  } else if (count > 0 && command.events[0].seq == sub->cursor + 1) {
    push_views(*sub, command.events, count);
    if (conn->closing == Connection::Closing::open) catch_up(*sub);
  } else {
    end_sub(*conn, sub->id, true);
  }
}

void Engine::backfill_join(Sub& sub, const std::vector<EventView>& events, std::size_t count) {
  Topic& topic = *sub.topic;
  if (count > 0 && (events[0].seq == sub.cursor + 1 || sub.recovered != 1)) {
    sub.cursor = events[0].seq - 1;  // the newest n may be fewer than n; a resume may not
    const auto append = [&](std::string& out) {
      for (std::size_t at = 0; at < count; ++at) {
        if (at > 0) out += ',';
        append_envelope(out, events[at]);
      }
    };
    complete_join(sub, append, events[count - 1].seq, [&] { push_views(sub, events, count); });
  } else if (sub.recovered == 1) {
    // Too old after all. The newest may still reach back further than the window.
    sub.recovered = 0;
    const auto wanted = static_cast<std::uint64_t>(sub.history < 0 ? kNotRecoveredEvents : sub.history);
    sub.cursor = std::max(sub.cursor + 1, topic.seq > wanted ? topic.seq - wanted : 0);
    join_from_window(sub);
  } else {
    sub.cursor = std::max(sub.cursor, topic.window.first() - 1);
    join_from_window(sub);
  }
}

// Replies to the join; what the reply does not hold follows. `last`: the seq of the last of the events; 0: none.
void Engine::complete_join(Sub& sub, const std::function<void(std::string&)>& events, std::uint64_t last,
                           const std::function<void()>& push_events) {
  Topic& topic = *sub.topic;
  Connection& conn = *sub.conn;
  sub.joined_seq = topic.seq;
  sub.born = topic.generation;
  sub.stage = Sub::Stage::catching_up;
  ++conn.catching_up;
  counters_.subscriptions.add();
  if (is_phoenix(conn.wire)) {
    // Who comes back to a hundred channels gets a hundred replies at once: these stay short.
    const bool with_events = conn.outbox.below_low_water();
    std::string response = "{\"kind\":";
    append_json_string(response, topic.kind);
    response += ",\"epoch\":";
    append_json_string(response, topic.epoch);
    response += ",\"seq\":";
    append_number(response, topic.seq);
    if (sub.recovered >= 0) response += sub.recovered == 1 ? ",\"recovered\":true" : ",\"recovered\":false";
    if (sub.has_since || sub.history >= 0) {
      response += ",\"events\":[";
      if (with_events) events(response);
      response += ']';
    }
    if (topic.policy.snapshot) {
      response += ",\"snapshot\":[";
      bool first = true;
      for (const auto& [seq, event] : topic.snapshot.events()) {
        if (!first) response += ',';
        first = false;
        response += event.envelope();
      }
      response += ']';
    }
    response += '}';
    sub.state = Sub::State::joined;
    answer_join(sub, true, response);
    if (conn.closing != Connection::Closing::open) return;
    if (with_events && last > 0) sub.cursor = last;
  } else {
    sub.state = Sub::State::joined;
    sub.joining.reset();
    --conn.joining;
    if (sub.recovered == 0) {
      const std::string cursor = topic.epoch + ":" + std::to_string(topic.seq);
      std::string frame;
      if (conn.wire == Wire::sse) {
        frame = "event: reset\ndata: {\"epoch\":";
        append_json_string(frame, topic.epoch);
        frame += ",\"seq\":" + std::to_string(topic.seq) + "}\n\n";
      } else {
        frame = "{\"notice\":{\"code\":\"reset\",\"message\":";
        append_json_string(frame, "could not resume; the channel is now at " + cursor);
        frame += "}}";
      }
      send(conn, frame);
    }
    if (conn.closing == Connection::Closing::open) push_events();
  }
  if (conn.closing != Connection::Closing::open) return;
  records_.joined(conn.id, sub.id, topic.id, topic.seq, sub.recovered);
  catch_up(sub);
}

// --- catching up

void Engine::set_live(Sub& sub) {
  sub.stage = Sub::Stage::live;
  sub.cursor = sub.topic->seq;  // a fan-out of these that has not come to it yet passes it by
  --sub.conn->catching_up;
  sub.own.reset();
}

void Engine::catch_up(Sub& sub) {
  Topic& topic = *sub.topic;
  Connection& conn = *sub.conn;
  while (!sub.asked && conn.closing == Connection::Closing::open && sub.stage == Sub::Stage::catching_up) {
    if (sub.cursor >= topic.seq) {
      set_live(sub);
      return;
    }
    if (topic.policy.overflow != Overflow::queue && sub.cursor >= sub.joined_seq) {
      go_live(sub);
      return;
    }
    if (!conn.outbox.below_low_water()) return;
    if (topic.window.covers(sub.cursor)) {
      const std::uint64_t before = topic.policy.overflow == Overflow::queue ? kNoBound : sub.joined_seq + 1;
      push_window(sub, topic.window.after(sub.cursor, before, kPageEventsMax, kPageBytesMax));
    } else if (topic.kept_elsewhere()) {
      ask(sub, kPageEventsMax, kPageBytesMax);
    } else {
      end_sub(conn, sub.id, true);
      return;
    }
  }
}

// The promise of a join ends at its seq; what came since then gives way as the kind says, as if live.
void Engine::go_live(Sub& sub) {
  Topic& topic = *sub.topic;
  Connection& conn = *sub.conn;
  const std::uint64_t after = std::max(sub.cursor, topic.window.first() - 1);
  const Window::Page rest = topic.window.after(after, kNoBound, topic.window.size(), kJoinBytesMax);
  const std::unique_ptr<std::set<std::uint64_t>> own = std::move(sub.own);
  set_live(sub);
  if (conn.turn) settle_turn(conn);
  for (std::uint64_t seq = rest.first; seq < rest.end; ++seq) {
    if (own && own->contains(seq)) continue;
    const KeptEvent& event = topic.window.at(seq);
    frame_.clear();
    append_event_frame(frame_, conn.wire, topic, seq, event.envelope());
    const bool taken = conn.outbox.put_event(topic.policy.overflow, topic.id, event.type(),
                                             {RunRef::of(frame_), 0, static_cast<std::uint32_t>(frame_.size())});
    mark_dirty(conn);
    if (!taken) {
      overflow(conn);
      return;
    }
  }
}

void Engine::push_window(Sub& sub, const Window::Page& page) {
  Connection& conn = *sub.conn;
  Topic& topic = *sub.topic;
  for (std::uint64_t seq = page.first; seq < page.end; ++seq) {
    sub.cursor = seq;
    if (sub.own && sub.own->erase(seq) > 0) continue;
    frame_.clear();
    append_event_frame(frame_, conn.wire, topic, seq, topic.window.at(seq).envelope());
    if (!put_control(conn, frame_)) {
      overflow(conn);
      return;
    }
    counters_.deliveries.add();
  }
}

void Engine::push_views(Sub& sub, const std::vector<EventView>& events, std::size_t count) {
  Connection& conn = *sub.conn;
  Topic& topic = *sub.topic;
  std::string envelope;
  for (std::size_t at = 0; at < count; ++at) {
    sub.cursor = events[at].seq;
    if (sub.own && sub.own->erase(events[at].seq) > 0) continue;
    envelope.clear();
    append_envelope(envelope, events[at]);
    frame_.clear();
    append_event_frame(frame_, conn.wire, topic, events[at].seq, envelope);
    if (!put_control(conn, frame_)) {
      overflow(conn);
      return;
    }
    counters_.deliveries.add();
  }
}

void Engine::ask(Sub& sub, std::size_t limit, std::size_t bytes_max) {
  sub.asked = true;
  Topic& topic = *sub.topic;
  put_published(topic);  // who reads log and store for it must know of all that stands there
  records_.need_history(sub.conn->id, sub.id, topic.id, sub.cursor, topic.window.first() - 1, limit, bytes_max);
}

}  // namespace polyglot
