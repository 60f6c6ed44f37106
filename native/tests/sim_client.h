// A simulated client: speaks WebSocket over a `SimKernel`'s socket (or Phoenix as mail) and checks what a client can
// check: every answer comes once, events are in order and without gaps where the kind promises it, an event comes
// before its publisher's answer, nothing comes to who is no member.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client_frame.h"
#include "phoenix/message.h"
#include "sim_kernel.h"

namespace check {

// What one JSON text says after a key; the simulation's data has none of the keys that are looked for.
inline std::string_view text_after(std::string_view json, std::string_view key) {
  const std::size_t at = json.find(key);
  if (at == std::string_view::npos) return {};
  json.remove_prefix(at + key.size());
  return json.substr(0, json.find_first_of("\","));
}
inline std::uint64_t number_after(std::string_view json, std::string_view key) {
  const std::size_t at = json.find(key);
  std::uint64_t value = 0;
  if (at == std::string_view::npos) return value;
  for (const char c : json.substr(at + key.size())) {
    if (c < '0' || c > '9') break;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

// What all clients of a simulation tell: the first thing that must not be, and every event that was seen.
class SimWitness {
 public:
  virtual ~SimWitness() = default;
  void fail(const std::string& what) {
    if (failure.empty()) failure = what;
  }
  virtual void saw(const std::string& app, const std::string& channel, const std::string& epoch, std::uint64_t seq,
                   std::string_view id) = 0;
  // A publish was acknowledged.
  virtual void was_promised(const std::string& app, const std::string& channel, std::uint64_t seq,
                            std::string_view id) = 0;
  std::string failure;
};

inline bool loses_events(std::string_view channel) {
  return channel.starts_with("match:") || channel.starts_with("ticker:");
}

class SimClient {
 public:
  using Socket = SimKernel::Socket;

  SimClient(std::string name, std::string app, polyglot::Serializer serializer, SimWitness& witness)
      : name_(std::move(name)), app_(std::move(app)), serializer_(serializer), witness_(witness) {}

  const std::string& app() const { return app_; }
  const std::string& name() const { return name_; }
  polyglot::Serializer serializer() const { return serializer_; }

  // --- how its bytes travel
  void connect(std::shared_ptr<Socket> socket) {
    socket_ = std::move(socket);
    unsent_ = "GET /socket/websocket?name=" + name_ + "&app=" + app_ +
              "&vsn=" + (serializer_ == polyglot::Serializer::v1 ? "1.0.0" : "2.0.0") +
              " HTTP/1.1\r\nHost: localhost:4000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  }
  bool has_socket() const { return socket_ != nullptr; }
  bool is_over() const { return over_; }
  bool lived() const { return !over_ && !ending_ && (opened_ || !socket_); }
  bool may_talk() const { return lived(); }
  std::size_t unanswered() const { return requests_.size(); }
  std::string first_unanswered() const {
    return requests_.empty() ? "" : requests_.begin()->second.event + " of " + requests_.begin()->second.channel;
  }
  void send_some(std::size_t bytes) {
    if (!socket_ || over_) return;
    const std::size_t size = std::min(bytes, unsent_.size());
    if (!socket_->server_closed) socket_->to_server.append(unsent_, 0, size);
    unsent_.erase(0, size);
  }
  void read_some(std::size_t bytes) {
    if (!socket_ || over_) return;
    const std::size_t size = std::min(bytes, socket_->to_client.size());
    unread_.append(socket_->to_client, 0, size);
    socket_->to_client.erase(0, size);
    if (!ending_ || opened_) take_frames();
    if (socket_->server_ended && socket_->to_client.empty()) {
      over_ = true;
      socket_->client_ended = true;
    }
  }
  void reset() {
    socket_->reset = true;
    socket_->to_client.clear();
    over_ = true;
  }
  void half_close() {
    ending_ = true;
    socket_->client_ended = true;
    unsent_.clear();
  }
  void say_close() {
    ending_ = true;
    unsent_ += polyglot::testing::client_frame(0x88, std::string_view("\x03\xe8", 2));
  }
  void talk_nonsense() {
    ending_ = true;
    unsent_ += polyglot::testing::client_frame(0x81, "no message");
  }
  void talk_http() {  // to the gateway, not to the driver
    ending_ = true;
    unsent_ = "GET /healthz HTTP/1.1\r\nHost: localhost:4000\r\n\r\n";
  }
  void ping() { unsent_ += polyglot::testing::client_frame(0x89, "p"); }
  void gone() { over_ = true; }  // mail whose connection was said to have ended
  std::vector<std::string> take_mail_to_feed() { return std::move(feed_); }

  // --- what it says
  void join(const std::string& channel, bool since, std::optional<std::uint64_t> history, bool echo) {
    Channel& state = channels_[channel];
    std::string params = "{";
    Request request;
    request.event = "phx_join";
    request.channel = channel;
    if (since && !state.epoch.empty()) {
      params += "\"s\":\"" + state.epoch + "\",\"q\":" + std::to_string(state.last) + ",";
      request.since = state.last;
      request.since_epoch = state.epoch;
    }
    if (history) params += "\"h\":" + std::to_string(*history) + ",";
    request.with_events = history.has_value() || request.since.has_value();
    request.echo = echo;
    params += "\"e\":" + std::string(echo ? "1" : "0") + "}";
    const std::string ref = next_ref();
    state.join_ref = ref;
    state.leaving = false;
    if (state.member) state.member->live = false;  // it may be over before its publishes are answered
    say(ref, ref, channel, "phx_join", params, request);
  }
  void push(const std::string& channel, const std::string& event, const std::string& payload) {
    Channel& state = channels_[channel];
    Request request;
    request.event = event;
    request.channel = channel;
    request.join_ref = state.join_ref;
    if (event == "phx_leave") {
      state.leaving = true;
      if (state.member) state.member->live = false;
    }
    say(state.join_ref.empty() ? "null" : state.join_ref, next_ref(), channel, event, payload, request);
  }
  // Names the join that it is published under.
  std::string data(const std::string& channel, std::size_t size) {
    const std::string& ref = channels_[channel].join_ref;
    return "{\"by\":\"" + name_ + "\",\"j\":" + (ref.empty() ? "null" : ref) + ",\"x\":\"" + std::string(size, 'x') +
           "\"}";
  }

  // --- what it hears
  void hear(std::string_view frame) {
    polyglot::Message message;
    polyglot::Fault fault;
    if (decoder_.decode_text(serializer_, frame, message, fault) != polyglot::Decoded::message) {
      return fail("a frame that is no message: " + std::string(frame.substr(0, 200)));
    }
    const std::string channel(message.topic);
    if (message.event == "phx_reply") {
      hear_reply(std::string(message.ref), channel, message.payload);
    } else if (message.event == "event") {
      hear_event(channel, message.payload);
    } else if (message.event == "phx_close" || message.event == "phx_error") {
      Channel& state = channels_[channel];
      const std::string_view of = serializer_ == polyglot::Serializer::v1 ? message.ref : message.join_ref;
      if (state.member && state.member->join_ref == of) state.member.reset();
    } else if (message.event == "signal" || message.event == "presence_diff" || message.event == "erased") {
      if (!channels_[channel].member) fail(std::string(message.event) + " to who is no member of " + channel);
    }
  }

 private:
  struct Request {
    std::string event;
    std::string channel;
    std::string join_ref;
    std::optional<std::uint64_t> since;
    std::string since_epoch;
    bool with_events = false;
    bool echo = true;
  };
  struct Member {
    std::string join_ref;
    std::uint64_t joined = 0;  // the channel's seq at the join
    std::uint64_t next = 0;    // 0: not known yet
    bool echo = true;
    bool live = false;         // from its join on, and still
  };
  struct Channel {
    std::optional<Member> member;
    std::string join_ref;  // of the last join that was sent
    bool leaving = false;  // it was left after that
    std::string epoch;     // with `last`, what a resume says
    std::uint64_t last = 0;
  };

  void fail(const std::string& what) { witness_.fail(name_ + ": " + what); }
  std::string next_ref() { return '"' + std::to_string(++refs_) + '"'; }
  void say(const std::string& join_ref, const std::string& ref, const std::string& channel, const std::string& event,
           const std::string& payload, const Request& request) {
    requests_[ref] = request;
    const std::string frame =
        serializer_ == polyglot::Serializer::v2
            ? "[" + join_ref + "," + ref + ",\"" + channel + "\",\"" + event + "\"," + payload + "]"
            : "{\"topic\":\"" + channel + "\",\"event\":\"" + event + "\",\"payload\":" + payload + ",\"ref\":" + ref +
                  ",\"join_ref\":" + join_ref + "}";
    if (socket_) {
      unsent_ += polyglot::testing::client_frame(0x81, frame);
    } else {
      feed_.push_back(frame);
    }
  }

  void take_frames() {
    if (!opened_) {
      const std::size_t end = unread_.find("\r\n\r\n");
      if (end == std::string::npos) return;
      if (!unread_.starts_with("HTTP/1.1 101")) {
        ending_ = true;
        unread_.clear();
        return;
      }
      unread_.erase(0, end + 4);
      opened_ = true;
    }
    std::size_t at = 0;
    while (unread_.size() - at >= 2) {
      const auto byte = [&](std::size_t offset) { return static_cast<unsigned char>(unread_[at + offset]); };
      std::size_t head = 2, size = byte(1);
      if (size == 126) head = 4;
      if (size == 127) head = 10;
      if (unread_.size() - at < head) break;
      if (head > 2) size = 0;
      for (std::size_t n = 2; n < head; ++n) size = size << 8 | byte(n);
      if (unread_.size() - at < head + size) break;
      const std::string_view payload = std::string_view(unread_).substr(at + head, size);
      if (closed_by_server_) fail("a frame after the close frame");
      switch (byte(0)) {
        case 0x81:
          hear(payload);
          break;
        case 0x88:
          closed_by_server_ = ending_ = true;
          unsent_ += polyglot::testing::client_frame(0x88, payload.substr(0, 2));
          break;
        case 0x8a:
          break;
        default:
          fail("a frame that begins with " + std::to_string(byte(0)));
      }
      at += head + size;
    }
    unread_.erase(0, at);
  }

  void hear_reply(const std::string& ref, const std::string& channel, std::string_view payload) {
    const auto found = requests_.find(ref);
    if (found == requests_.end()) return fail("a second answer, or one to nothing: " + ref + " of " + channel);
    const Request request = found->second;
    requests_.erase(found);
    const bool ok = payload.find("\"status\":\"ok\"") != std::string_view::npos;
    Channel& state = channels_[channel];
    if (request.event == "phx_join") {
      state.member.reset();
      if (ok) hear_joined(request, state, ref, payload);
    } else if (request.event == "phx_leave") {
      state.member.reset();
    } else if (request.event == "publish" && ok) {
      witness_.was_promised(app_, channel, number_after(payload, "\"seq\":"), text_after(payload, "\"id\":\""));
      if (!state.member || state.member->join_ref != request.join_ref) return;
      const Member& member = *state.member;
      const std::uint64_t seq = number_after(payload, "\"seq\":");
      const bool duplicate = payload.find("\"duplicate\":true") != std::string_view::npos;
      if (!duplicate && member.live && member.echo && !loses_events(channel) && member.next <= seq) {
        fail("the answer to a publish on " + channel + " came before its event " + std::to_string(seq));
      }
    }
  }
  void hear_joined(const Request& request, Channel& state, const std::string& ref, std::string_view payload) {
    Member member;
    member.join_ref = ref;
    member.echo = request.echo;
    const std::string epoch(text_after(payload, "\"epoch\":\""));
    member.joined = number_after(payload, "\"seq\":");
    const bool recovered = payload.find("\"recovered\":true") != std::string_view::npos;
    if (recovered && epoch != request.since_epoch) fail("recovered into another epoch");
    if (recovered) {
      member.next = *request.since + 1;
    } else if (!request.with_events) {
      member.next = member.joined + 1;
    }
    if (epoch != state.epoch || !recovered) state.last = 0;
    state.epoch = epoch;
    const std::size_t events_at = payload.find("\"events\":[");
    const std::size_t snapshot_at = payload.find("],\"snapshot\":[");
    if (events_at != std::string_view::npos) {
      std::string_view events = payload.substr(
          events_at, snapshot_at == std::string_view::npos ? std::string_view::npos : snapshot_at - events_at);
      for (std::size_t at = events.find("{\"id\":"); at != std::string_view::npos; at = events.find("{\"id\":", 1)) {
        events.remove_prefix(at);
        take(request.channel, state, member, events);
      }
    }
    if (member.next == 0 && member.joined == 0) member.next = 1;
    member.live = member.next == member.joined + 1 && state.join_ref == ref && !state.leaving;
    if (member.next > member.joined + 1) fail("a join's reply goes beyond its seq on " + request.channel);
    if (member.next == member.joined + 1) state.last = member.joined;
    state.member = member;
  }
  void hear_event(const std::string& channel, std::string_view envelope) {
    Channel& state = channels_[channel];
    if (!state.member) return fail("an event to who is no member of " + channel);
    take(channel, state, *state.member, envelope);
    if (!state.member->echo && text_after(envelope, "\"by\":\"") == name_ &&
        envelope.find("\"j\":" + state.member->join_ref + ",") != std::string_view::npos) {
      fail("an echo that was not wanted on " + channel);
    }
  }
  void take(const std::string& channel, Channel& state, Member& member, std::string_view envelope) {
    const std::uint64_t seq = number_after(envelope, "\"seq\":");
    const std::string id(text_after(envelope, "\"id\":\""));
    const bool promised = !loses_events(channel) || seq <= member.joined;
    const std::string place = channel + " of " + state.epoch + ": " + std::to_string(seq);
    if (member.next == 0 && seq > member.joined + 1 && promised && member.echo) {
      fail("the first event is beyond the join's seq, " + place);
    } else if (member.next > 0 && seq < member.next) {
      fail("an event again or out of order, " + place + ", not " + std::to_string(member.next));
    } else if (member.next > 0 && seq > member.next && promised && member.echo) {
      fail("an event is missing, " + place + ", not " + std::to_string(member.next));
    }
    member.next = seq + 1;
    state.last = seq;
    witness_.saw(app_, channel, state.epoch, seq, id);
  }

  std::string name_;
  std::string app_;
  polyglot::Serializer serializer_;
  SimWitness& witness_;
  polyglot::Decoder decoder_;
  std::shared_ptr<Socket> socket_;
  std::string unsent_;
  std::string unread_;
  std::vector<std::string> feed_;
  std::map<std::string, Channel> channels_;
  std::map<std::string, Request> requests_;
  std::uint64_t refs_ = 0;
  bool opened_ = false;
  bool ending_ = false;
  bool over_ = false;
  bool closed_by_server_ = false;
};

}  // namespace check
