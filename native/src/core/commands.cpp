#include "core/commands.h"

#include "core/msgpack.h"

namespace polyglot {

namespace {

Policy read_policy(MsgpackReader& in) {
  Policy policy;
  for (std::size_t left = in.map(); left > 0; --left) {
    const std::string_view name = in.text();
    if (name == "history_events") {
      policy.history_events = in.integer();
    } else if (name == "history_s") {
      policy.history_s = in.integer();
    } else if (name == "snapshot") {
      policy.snapshot = in.boolean();
    } else if (name == "durability") {
      policy.logged = in.text() == "logged";
    } else if (name == "overflow") {
      const std::string_view overflow = in.text();
      policy.overflow = overflow == "conflate" ? Overflow::conflate
                        : overflow == "drop"   ? Overflow::drop
                                               : Overflow::queue;
    } else {
      in.skip();  // the gateway's own: who joins, presence, retention
    }
  }
  return policy;
}

EventView read_event(MsgpackReader& in) {
  in.array(9);
  EventView event;
  event.id = in.text();
  event.app_id = in.text();
  event.channel = in.text();
  event.epoch = in.text();
  event.seq = in.natural();
  event.type = in.text();
  event.data = in.binary();
  event.user_id = in.optional_text();
  event.ts_us = in.integer();
  return event;
}

std::vector<EventView> read_events(MsgpackReader& in) {
  std::vector<EventView> events;
  for (std::size_t left = in.array(); left > 0; --left) events.push_back(read_event(in));
  return events;
}

command::ConfigureApp read_configure_app(MsgpackReader& in) {
  command::ConfigureApp found;
  found.app_id = in.text();
  for (std::size_t left = in.map(); left > 0; --left) {
    const std::string_view name = in.text();
    if (name == "payload_bytes") {
      found.payload_bytes = in.integer();
    } else if (name == "publishes_per_connection") {
      found.publishes_per_connection = in.number();
    } else if (name == "types_per_ticker") {
      found.types_per_ticker = in.integer();
    } else {
      in.skip();  // limits that the gateway keeps
    }
  }
  found.publish_rate = in.number();
  found.events_used_up = in.boolean();
  found.bytes_used_up = in.boolean();
  return found;
}

command::OpenTopic read_open_topic(MsgpackReader& in, std::size_t fields) {
  command::OpenTopic found;
  found.topic = in.natural();
  found.app_id = in.text();
  found.channel = in.text();
  found.policy = read_policy(in);
  found.epoch = in.text();
  found.seq = in.natural();
  found.window = read_events(in);
  if (fields == 9) {
    for (std::size_t left = in.array(); left > 0; --left) {
      in.array(4);
      command::RecentId recent;
      recent.id = in.text();
      recent.user_id = in.optional_text();
      recent.seq = in.natural();
      recent.ts_us = in.integer();
      found.recent.push_back(recent);
    }
  }
  return found;
}

command::Refuse read_refuse(MsgpackReader& in) {
  command::Refuse found;
  found.conn = in.natural();
  found.status = static_cast<int>(in.integer());
  for (std::size_t left = in.array(); left > 0; --left) {
    in.array(2);
    const std::string_view name = in.text();
    found.headers.emplace_back(name, in.text());
  }
  found.body = in.binary();
  return found;
}

command::Admit read_admit(MsgpackReader& in) {
  command::Admit found;
  found.conn = in.natural();
  found.sub = in.natural();
  found.topic = in.natural();
  found.may_publish = in.boolean();
  found.sees_presence = in.boolean();
  if (!in.take_nil()) {
    in.array(2);
    found.has_since = true;
    found.since_epoch = in.text();
    found.since_seq = in.integer();
  }
  if (!in.take_nil()) found.history = in.integer();
  found.echo = in.boolean();
  return found;
}

command::Publish read_publish(MsgpackReader& in) {
  command::Publish found;
  found.request = in.natural();
  const std::size_t count = in.array();
  for (std::size_t left = count; left > 0; --left) {
    in.array(5);
    command::PublishItem item;
    item.topic = in.natural();
    item.type = in.text();
    item.data = in.binary();
    item.id = in.optional_text();
    item.user_id = in.optional_text();
    found.items.push_back(item);
  }
  return found;
}

command::ReadWindow read_read_window(MsgpackReader& in) {
  command::ReadWindow found;
  found.request = in.natural();
  found.topic = in.natural();
  if (!in.take_nil()) found.after = in.natural();
  if (!in.take_nil()) found.before = in.natural();
  found.limit = in.natural();
  found.bytes_max = in.natural();
  return found;
}

command::Feed read_feed(MsgpackReader& in) {
  command::Feed found;
  found.conn = in.natural();
  for (std::size_t left = in.array(); left > 0; --left) found.frames.push_back(in.binary());
  found.binary = in.boolean();
  return found;
}

void expect(std::size_t fields, std::size_t wanted) {
  if (fields != wanted) throw MsgpackError("a command has another number of fields");
}

Command read_command(MsgpackReader& in) {
  const std::size_t fields = in.array();
  if (fields == 0) throw MsgpackError("a command begins with its tag");
  using namespace command;
  // In the order of the fields: braces are evaluated from left to right.
  switch (in.integer()) {
    case 1:
      expect(fields, 6);
      return read_configure_app(in);
    case 2:
      expect(fields, 4);
      return Accept{in.natural(), in.text(), in.text()};
    case 3:
      expect(fields, 5);
      return read_refuse(in);
    case 4:
      if (fields != 9) expect(fields, 8);
      return read_open_topic(in, fields);
    case 5:
      expect(fields, 3);
      return SetPolicy{in.natural(), read_policy(in)};
    case 6:
      expect(fields, 3);
      return NewEpoch{in.natural(), in.text()};
    case 7:
      expect(fields, 2);
      return CloseTopic{in.natural()};
    case 8:
      expect(fields, 9);
      return read_admit(in);
    case 9:
      expect(fields, 4);
      return RefuseJoin{in.natural(), in.natural(), in.binary()};
    case 10:
      expect(fields, 5);
      return Backfill{in.natural(), in.natural(), read_events(in), in.boolean()};
    case 11:
      expect(fields, 5);
      return SetCapabilities{in.natural(), in.natural(), in.boolean(), in.boolean()};
    case 12:
      expect(fields, 4);
      return Reply{in.natural(), in.boolean(), in.binary()};
    case 13:
      expect(fields, 5);
      return SendTo{in.natural(), in.natural(), in.text(), in.binary()};
    case 14:
      expect(fields, 5);
      return Broadcast{in.natural(), in.text(), in.binary(), in.boolean()};
    case 15: {
      expect(fields, 4);
      Notice found;
      if (!in.take_nil()) found.conn = in.natural();
      found.code = in.text();
      found.message = in.text();
      return found;
    }
    case 16:
      expect(fields, 4);
      return EndSubscription{in.natural(), in.natural(), in.text() == "error"};
    case 17:
      expect(fields, 4);
      return Disconnect{in.natural(), static_cast<std::uint16_t>(in.integer()), in.text()};
    case 18:
      expect(fields, 5);
      return OpenVirtual{in.natural(), in.text(), in.optional_text(), in.text()};
    case 19:
      expect(fields, 4);
      return read_feed(in);
    case 20:
      expect(fields, 4);
      return TakeMail{in.natural(), in.natural(), in.natural()};
    case 21:
      expect(fields, 3);
      return read_publish(in);
    case 22:
      expect(fields, 7);
      return read_read_window(in);
    case 23:
      expect(fields, 1);
      return StopAccepting{};
    case 24: {
      expect(fields, 8);
      const std::uint64_t topic = in.natural();
      const std::string_view epoch = in.optional_text();
      const std::uint64_t first = in.natural();
      const std::uint64_t last = in.natural();
      const std::string_view user_id = in.optional_text();
      const std::int64_t until_us = in.integer();
      return Erase{topic, epoch, first, last, user_id, until_us, in.binary()};
    }
    default:
      throw MsgpackError("an unknown command");
  }
}

}  // namespace

void decode_commands(CommandBatch& batch) {
  MsgpackReader in(batch.bytes);
  const std::size_t count = in.array();
  for (std::size_t left = count; left > 0; --left) batch.commands.push_back(read_command(in));
  if (!in.at_end()) throw MsgpackError("bytes follow the last command");
}

}  // namespace polyglot
