// Commands from the gateway, decoded: `AnyCommand` of polyglotd/plane/interface.py. A batch is decoded whole, in the
// caller's thread, before any of it is queued: a bad one is refused and changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/outbox.h"
#include "event/event.h"

namespace polyglot {

// What of a kind's policy the data plane obeys.
struct Policy {
  std::int64_t history_events = 100;
  std::int64_t history_s = 3600;
  bool snapshot = false;
  bool logged = false;
  Overflow overflow = Overflow::queue;
};

namespace command {

using Headers = std::vector<std::pair<std::string_view, std::string_view>>;

struct RecentId {
  std::string_view id;
  std::string_view user_id;
  std::uint64_t seq = 0;
  std::int64_t ts_us = 0;
};

struct ConfigureApp {
  std::string_view app_id;
  std::int64_t payload_bytes = 0;
  double publishes_per_connection = 0;
  std::int64_t types_per_ticker = 0;
  double publish_rate = 0;
  bool events_used_up = false;
  bool bytes_used_up = false;
};
struct Accept {
  std::uint64_t conn = 0;
  std::string_view app_id;
  std::string_view user_id;
};
struct Refuse {
  std::uint64_t conn = 0;
  int status = 0;
  Headers headers;
  std::string_view body;
};
struct OpenTopic {
  std::uint64_t topic = 0;
  std::string_view app_id;
  std::string_view channel;
  Policy policy;
  std::string_view epoch;
  std::uint64_t seq = 0;
  std::vector<EventView> window;
  std::vector<RecentId> recent;  // added by the native plane: what the log remembers
};
struct SetPolicy {
  std::uint64_t topic = 0;
  Policy policy;
};
struct NewEpoch {
  std::uint64_t topic = 0;
  std::string_view epoch;
};
struct CloseTopic {
  std::uint64_t topic = 0;
};
struct Admit {
  std::uint64_t conn = 0;
  std::uint64_t sub = 0;
  std::uint64_t topic = 0;
  bool may_publish = false;
  bool sees_presence = false;
  bool has_since = false;
  std::string_view since_epoch;
  std::int64_t since_seq = 0;
  std::optional<std::int64_t> history;
  bool echo = true;
};
struct RefuseJoin {
  std::uint64_t conn = 0;
  std::uint64_t sub = 0;
  std::string_view response;
};
struct Backfill {
  std::uint64_t conn = 0;
  std::uint64_t sub = 0;
  std::vector<EventView> events;
  bool gone = false;
};
struct SetCapabilities {
  std::uint64_t conn = 0;
  std::uint64_t sub = 0;
  bool may_publish = false;
  bool sees_presence = false;
};
struct Reply {
  std::uint64_t reply = 0;
  bool ok = false;
  std::string_view response;
};
struct SendTo {
  std::uint64_t conn = 0;
  std::uint64_t sub = 0;
  std::string_view event;
  std::string_view payload;
};
struct Broadcast {
  std::uint64_t topic = 0;
  std::string_view event;
  std::string_view payload;
  bool presence_only = false;
};
struct Notice {
  std::optional<std::uint64_t> conn;
  std::string_view code;
  std::string_view message;
};
struct EndSubscription {
  std::uint64_t conn = 0;
  std::uint64_t sub = 0;
  bool error = false;
};
struct Disconnect {
  std::uint64_t conn = 0;
  std::uint16_t code = 0;
  std::string_view reason;
};
struct OpenVirtual {
  std::uint64_t conn = 0;
  std::string_view app_id;
  std::string_view user_id;  // empty: none
  std::string_view serializer;
};
struct Feed {
  std::uint64_t conn = 0;
  std::vector<std::string_view> frames;
  bool binary = false;
};
struct TakeMail {
  std::uint64_t conn = 0;
  std::uint64_t request = 0;
  std::size_t bytes_max = 0;
};
struct PublishItem {
  std::uint64_t topic = 0;
  std::string_view type;
  std::string_view data;
  std::string_view id;       // empty: none
  std::string_view user_id;  // empty: none
};
struct Publish {
  std::uint64_t request = 0;
  std::vector<PublishItem> items;
};
struct ReadWindow {
  std::uint64_t request = 0;
  std::uint64_t topic = 0;
  std::optional<std::uint64_t> after;
  std::optional<std::uint64_t> before;
  std::size_t limit = 0;
  std::size_t bytes_max = 0;
};
struct StopAccepting {};
struct Erase {
  std::uint64_t topic = 0;
  std::string_view epoch;  // empty: whatever it is
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::string_view user_id;  // empty: of anybody
  std::int64_t until_us = 0;
  std::string_view payload;
};

}  // namespace command

using Command =
    std::variant<command::ConfigureApp, command::Accept, command::Refuse, command::OpenTopic, command::SetPolicy,
                 command::NewEpoch, command::CloseTopic, command::Admit, command::RefuseJoin, command::Backfill,
                 command::SetCapabilities, command::Reply, command::SendTo, command::Broadcast, command::Notice,
                 command::EndSubscription, command::Disconnect, command::OpenVirtual, command::Feed, command::TakeMail,
                 command::Publish, command::ReadWindow, command::StopAccepting, command::Erase>;

// Views point into `bytes`, so a batch is moved as a whole, in a unique_ptr.
struct CommandBatch {
  std::string bytes;
  std::vector<Command> commands;
};

// Decodes `batch.bytes`, one msgpack array of commands. Throws MsgpackError.
void decode_commands(CommandBatch& batch);

}  // namespace polyglot
