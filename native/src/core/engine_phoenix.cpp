// One client's Phoenix connection as a state machine: heartbeats, joins, leaves, pushes.
// Reference: polyglotd/protocol/phoenix_socket.py.
#include <algorithm>
#include <utility>

#include "core/engine.h"
#include "phoenix/frames.h"
#include "phoenix/json_text.h"

namespace polyglot {

namespace {

constexpr std::string_view kPhoenix = "phoenix";
constexpr std::string_view kPhoenixJson = "\"phoenix\"";
constexpr std::size_t kChannelBytesMax = 200;
constexpr std::uint32_t kPushesMax = 256;  // unanswered at once; a client that waits for replies has few
constexpr std::uint32_t kJoinsMax = 1024;  // the same: a client rejoins all its channels at once after a reconnect
constexpr std::size_t kEventShownMax = 64;
constexpr std::string_view kNull = "null";

std::uint32_t hash_of(std::string_view text) { return static_cast<std::uint32_t>(std::hash<std::string_view>{}(text)); }

// At most so many characters (not bytes) of a text.
std::string_view first_characters(std::string_view text, std::size_t count) {
  std::size_t at = 0;
  while (at < text.size() && count > 0) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
    --count;
  }
  return text.substr(0, at);
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
}

Refusal unmatched() { return {"unmatched topic", "this topic is not joined on this connection"}; }

Refusal too_many(const char* what) {
  Refusal refusal{"rate_limited", std::string("too many ") + what + " of this connection wait for a reply"};
  refusal.retry_after_ms = 1000;
  return refusal;
}

// As Python's repr of a text shows it, for the message about an unknown event: quotes and what is printable as it is.
std::string shown(std::string_view event) {
  const char quote =
      event.find('\'') != std::string_view::npos && event.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char byte : event) {
    const auto code = static_cast<unsigned char>(byte);
    if (byte == quote || byte == '\\') {
      out += '\\';
      out += byte;
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\r') {
      out += "\\r";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (code < 0x20 || code == 0x7f) {
      constexpr char kHex[] = "0123456789abcdef";
      out += "\\x";
      out += kHex[code >> 4];
      out += kHex[code & 15];
    } else {
      out += byte;
    }
  }
  return out + quote;
}

}  // namespace

std::string_view Engine::channel_of(const Sub& sub) const {
  return sub.name.empty() && sub.topic != nullptr ? std::string_view(sub.topic->names.channel)
                                                  : std::string_view(sub.name);
}

std::string_view Engine::topic_json(const Sub& sub) {
  if (sub.topic != nullptr) return sub.topic->channel_json;
  scratch_.clear();
  append_json_string(scratch_, channel_of(sub));
  return scratch_;
}

Sub* Engine::find_sub(Connection& conn, std::string_view channel) {
  const std::uint32_t hash = hash_of(channel);
  for (const auto& sub : conn.subs) {
    if (sub->name_hash == hash && channel_of(*sub) == channel) return sub.get();
  }
  return nullptr;
}

Sub* Engine::sub_of(Connection& conn, std::uint64_t id) {
  for (const auto& sub : conn.subs) {
    if (sub->id == id) return sub.get();
  }
  return nullptr;
}

void Engine::receive(Connection& conn, std::string_view frame, bool binary) {
  if (!is_phoenix(conn.wire)) return;  // streams have nothing to say
  Message message;
  Fault fault;
  const Serializer serializer = serializer_of(conn.wire);
  switch (binary ? decoder_.decode_binary(serializer, frame, message, fault)
                 : decoder_.decode_text(serializer, frame, message, fault)) {
    case Decoded::fault:
      close(conn, fault.code, fault.reason);
      return;
    case Decoded::payload_not_json: {
      Sub* sub = find_sub(conn, message.topic);
      const bool joined = sub != nullptr && sub->state == Sub::State::joined;
      Refusal refusal{"invalid", "the data of a binary push is its payload as UTF-8 JSON"};
      refusal.field = "payload";
      refuse_message(conn, joined ? std::string_view(sub->join_ref) : kNull, message, refusal);
      return;
    }
    case Decoded::message:
      break;
  }
  if (message.event == "phx_join") {
    join(conn, message);
  } else if (message.event == "phx_leave") {
    leave(conn, message);
  } else {
    push(conn, message);
  }
}

void Engine::refuse_message(Connection& conn, std::string_view join_ref, const Message& message,
                            const Refusal& refusal) {
  std::string response;
  append_refusal(response, refusal);
  std::string topic;
  append_json_string(topic, message.topic);
  frame_.clear();
  append_reply(frame_, serializer_of(conn.wire), join_ref, message.ref, topic, false, response);
  reply_soon(conn, frame_);
  refused(conn, refusal.reason);
}

void Engine::join(Connection& conn, const Message& message) {
  if (message.topic == kPhoenix) {
    refuse_message(conn, kNull, message, unmatched());
    return;
  }
  if (characters(message.topic) > kChannelBytesMax) {  // refused here: what waits for an answer stays small
    Refusal refusal{"invalid", "a channel has at most 200 bytes"};
    refusal.field = "channel";
    refuse_message(conn, message.join_ref, message, refusal);
    return;
  }
  Sub* before = find_sub(conn, message.topic);
  if (conn.joining >= kJoinsMax && (before == nullptr || before->state != Sub::State::joining)) {
    refuse_message(conn, message.join_ref, message, too_many("joins"));
    return;
  }
  auto joining = std::make_unique<Joining>();
  joining->ref = message.ref;
  const std::string name(message.topic);
  const std::string join_ref(message.join_ref);
  const std::string params(message.payload);
  if (before != nullptr) {
    if (before->topic != nullptr) drop(*before, "replaced");
    if (before->state == Sub::State::joining) {
      give_up_join(*before, "another phx_join of this topic came before the answer to this one");
    } else {
      frame_.clear();
      append_end(frame_, serializer_of(conn.wire), before->join_ref, topic_json(*before), "\"phx_close\"");
      joining->owed.push_back(frame_);
    }
    if (conn.closing != Connection::Closing::open) return;
    remove(*before);
  }
  auto made = std::make_unique<Sub>();
  made->id = std::exchange(next_sub_, next_sub_ + settings_.id_step);
  made->conn = &conn;
  made->name = name;
  made->name_hash = hash_of(name);
  made->join_ref = join_ref;
  made->joining = std::move(joining);
  ++conn.joining;
  records_.join(conn.id, made->id, name, params);
  conn.subs.push_back(std::move(made));
}

void Engine::leave(Connection& conn, const Message& message) {
  const Serializer serializer = serializer_of(conn.wire);
  Sub* sub = find_sub(conn, message.topic);
  if (sub == nullptr) {  // what was wanted is so
    std::string topic;
    append_json_string(topic, message.topic);
    frame_.clear();
    append_reply(frame_, serializer, kNull, message.ref, topic, true, "{}");
    send(conn, frame_);
    return;
  }
  const std::string ref(message.ref);
  const bool was_joined = sub->state == Sub::State::joined;
  if (sub->topic != nullptr) drop(*sub, "leave");
  if (!was_joined) give_up_join(*sub, "phx_leave came before the answer to this join");
  if (conn.closing != Connection::Closing::open) return;
  frame_.clear();
  append_reply(frame_, serializer, sub->join_ref, ref, topic_json(*sub), true, "{}");
  bool open = send(conn, frame_);
  if (open && was_joined) {
    frame_.clear();
    append_end(frame_, serializer, sub->join_ref, topic_json(*sub), "\"phx_close\"");
    open = send(conn, frame_);
  }
  if (open) remove(*sub);
}

void Engine::push(Connection& conn, const Message& message) {
  if (message.topic == kPhoenix && message.event == "heartbeat") {
    frame_.clear();
    append_reply(frame_, serializer_of(conn.wire), kNull, message.ref, kPhoenixJson, true, "{}");
    reply_soon(conn, frame_);
    return;
  }
  Sub* sub = find_sub(conn, message.topic);
  if (sub == nullptr || sub->state != Sub::State::joined) {
    refuse_message(conn, kNull, message, unmatched());
    return;
  }
  if (message.event == "publish") {
    publish(*sub, message);
    return;
  }
  if (message.event == "signal") {
    signal(*sub, message);
    return;
  }
  if (message.event != "history" && message.event != "presence" && message.event != "presence_update" &&
      message.event != "access_token") {
    const Refusal refusal{"unknown_event",
                          shown(first_characters(message.event, kEventShownMax)) +
                              " is no event of a channel: those are publish, signal, history, presence, "
                              "presence_update, access_token"};
    refuse_message(conn, sub->join_ref, message, refusal);
    return;
  }
  if (conn.asked >= kPushesMax) {
    refuse_message(conn, sub->join_ref, message, too_many("pushes"));
    return;
  }
  const std::uint64_t handle = std::exchange(next_handle_, next_handle_ + settings_.id_step);
  asked_[handle] = Asked{&conn, sub->join_ref, std::string(message.ref), std::string(sub->topic->channel_json)};
  ++conn.asked;
  records_.push(conn.id, sub->id, sub->topic->id, message.event, message.payload, handle);
}

void Engine::answer_join(Sub& sub, bool ok, std::string_view response) {
  Connection& conn = *sub.conn;
  const std::unique_ptr<Joining> joining = std::move(sub.joining);
  --conn.joining;
  frame_.clear();
  append_reply(frame_, serializer_of(conn.wire), sub.join_ref, joining->ref, topic_json(sub), ok, response);
  if (!send(conn, frame_)) return;
  for (const std::string& owed : joining->owed) {
    if (!send(conn, owed)) return;
  }
}

void Engine::give_up_join(Sub& sub, std::string_view why) {
  std::string response;
  append_refusal(response, Refusal{"unmatched topic", std::string(why)});
  Connection& conn = *sub.conn;
  answer_join(sub, false, response);
  refused(conn, "unmatched topic");
}

void Engine::end_sub(Connection& conn, std::uint64_t id, bool error) {
  Sub* sub = sub_of(conn, id);
  if (sub == nullptr) return;
  if (is_phoenix(conn.wire)) {
    if (sub->state == Sub::State::joined) {
      frame_.clear();
      append_end(frame_, serializer_of(conn.wire), sub->join_ref, topic_json(*sub),
                 error ? "\"phx_error\"" : "\"phx_close\"");
      if (!send(conn, frame_)) return;
    } else {
      Refusal refusal{"unavailable", "the channel ended while it was being joined"};
      refusal.retry_after_ms = 1000;
      std::string response;
      append_refusal(response, refusal);
      answer_join(*sub, false, response);
    }
  }
  if (conn.closing != Connection::Closing::open) return;
  if (sub->topic != nullptr) drop(*sub, "ended");
  remove(*sub);
}

void Engine::drop(Sub& sub, std::string_view why) {
  Topic& topic = *sub.topic;
  topic.members[sub.slot] = nullptr;
  --topic.member_count;
  --topic.members_of[index_of(sub.conn->wire)];
  if (topic.jobs == 0) {  // nobody walks along the members: the hole is closed at once
    topic.members[sub.slot] = topic.members.back();
    if (topic.members[sub.slot] != nullptr) topic.members[sub.slot]->slot = sub.slot;
    topic.members.pop_back();
  }
  touch(topic);
  if (sub.stage != Sub::Stage::waiting) counters_.subscriptions.subtract();
  if (sub.stage == Sub::Stage::catching_up) --sub.conn->catching_up;
  sub.stage = Sub::Stage::waiting;
  records_.left(sub.conn->id, sub.id, topic.id, why);
  // The frames that follow still name the channel.
  if (sub.name.empty()) sub.name = topic.names.channel;
  sub.topic = nullptr;
}

void Engine::remove(Sub& sub) {
  Connection& conn = *sub.conn;
  if (sub.joining) --conn.joining;
  const auto found = std::find_if(conn.subs.begin(), conn.subs.end(), [&](const auto& s) { return s.get() == &sub; });
  dead_subs_.push_back(std::move(*found));
  conn.subs.erase(found);
}

}  // namespace polyglot
