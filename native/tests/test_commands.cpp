// Batches of commands: what the gateway writes is decoded field by field; a batch with a fault is refused as a whole.
// That msgspec writes the same is tested from Python, through the library.
#include <string>

#include "check.h"
#include "command_writer.h"
#include "core/commands.h"

namespace {

using namespace polyglot;
using check::CommandWriter;

template <typename T>
const T& at(const CommandBatch& batch, std::size_t place) {
  return std::get<T>(batch.commands.at(place));
}

bool refused(const std::string& bytes) {
  CommandBatch batch;
  batch.bytes = bytes;
  try {
    decode_commands(batch);
  } catch (const MsgpackError&) {
    return true;
  }
  return false;
}

check::ReadEvent some_event() {
  check::ReadEvent event;
  event.id = "evt_1";
  event.app_id = "a";
  event.channel = "room:1";
  event.epoch = "e";
  event.seq = 300;
  event.type = "t";
  event.data = "{}";
  event.ts_us = 1'750'000'000'000'000;
  return event;
}

void write_all(CommandWriter& out) {
  check::SimPolicy policy;
  policy.logged = policy.snapshot = true;
  policy.overflow = "conflate";
  policy.history_events = 0;
  out.configure_app("a", 4096, 7, true, false);
  out.accept(1, "a", "u");
  out.refuse(2);
  out.open_topic(3, "a", "room:1", policy, "e", 300, {some_event()});
  out.set_policy(3, policy);
  out.new_epoch(3, "f");
  out.close_topic(3);
  out.admit(1, 4, 3, true, CommandWriter::Since{"e", 9}, 5, false);
  out.admit(1, 4, 3, false, {}, {}, true);
  out.refuse_join(1, 4, "{}");
  out.backfill(1, 4, {some_event(), some_event()}, true);
  out.set_capabilities(1, 4, true);
  out.reply(9, true, "{}");
  out.send_to(1, 4, "presence_state", "{}");
  out.broadcast(3, "presence_diff", "{}");
  out.notice_all("code", "message");
  out.end_subscription(1, 4, true);
  out.disconnect(1, 4003, "why");
  out.open_virtual(5, "a", "sse");
  out.feed(5, {"one", "two"});
  out.take_mail(5, 6, 1000);
  out.publish(7, {{3, "t", "{}", "id", ""}, {3, "u", "1", "", "u"}});
  out.read_window(8, 3, {}, 17, 50);
  out.stop_accepting();
  out.erase(3, "e", 1, 9, "", 0, "{}");
  out.erase(3, "", 0, 99, "u", 1'750'000'000'000'000, "");
}

TEST("every command is decoded with its fields") {
  CommandWriter out;
  write_all(out);
  const auto batch = out.take();
  CHECK_EQ(batch->commands.size(), 26u);
  CHECK_EQ(at<command::ConfigureApp>(*batch, 0).payload_bytes, 4096);
  CHECK_EQ(at<command::ConfigureApp>(*batch, 0).publish_rate, 70.0);
  CHECK(at<command::ConfigureApp>(*batch, 0).events_used_up && !at<command::ConfigureApp>(*batch, 0).bytes_used_up);
  CHECK_EQ(at<command::Accept>(*batch, 1).user_id, "u");
  CHECK_EQ(at<command::Refuse>(*batch, 2).body, "no");
  const auto& opened = at<command::OpenTopic>(*batch, 3);
  CHECK(opened.policy.logged && opened.policy.snapshot && opened.policy.overflow == Overflow::conflate);
  CHECK_EQ(opened.policy.history_events, 0);
  CHECK_EQ(opened.window.at(0).seq, 300u);
  CHECK_EQ(opened.window.at(0).user_id, "");
  const auto& admitted = at<command::Admit>(*batch, 7);
  CHECK(admitted.has_since && admitted.since_epoch == "e" && admitted.since_seq == 9);
  CHECK(admitted.history == 5 && !admitted.echo && admitted.may_publish);
  CHECK(!at<command::Admit>(*batch, 8).has_since && !at<command::Admit>(*batch, 8).history);
  CHECK(at<command::Backfill>(*batch, 10).gone && at<command::Backfill>(*batch, 10).events.size() == 2);
  CHECK(!at<command::Notice>(*batch, 15).conn);
  CHECK(at<command::EndSubscription>(*batch, 16).error);
  CHECK_EQ(at<command::Disconnect>(*batch, 17).code, 4003);
  CHECK_EQ(at<command::Feed>(*batch, 19).frames.at(1), "two");
  const auto& published = at<command::Publish>(*batch, 21);
  CHECK(published.items.at(0).id == "id" && published.items.at(0).user_id.empty());
  CHECK(published.items.at(1).id.empty() && published.items.at(1).user_id == "u");
  const auto& read = at<command::ReadWindow>(*batch, 22);
  CHECK(!read.after && read.before == 17 && read.limit == 50);
  CHECK(std::holds_alternative<command::StopAccepting>(batch->commands.at(23)));
  const auto& erased = at<command::Erase>(*batch, 24);
  CHECK(erased.epoch == "e" && erased.first == 1 && erased.last == 9 && erased.user_id.empty());
  CHECK_EQ(erased.payload, "{}");
  CHECK_EQ(at<command::Erase>(*batch, 25).user_id, "u");
  CHECK_EQ(at<command::Erase>(*batch, 25).until_us, 1'750'000'000'000'000);
}

TEST("a batch that is cut anywhere, or goes on, is refused") {
  CommandWriter out;
  write_all(out);
  const std::string bytes = out.take()->bytes;
  CHECK(!refused(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) CHECK(refused(bytes.substr(0, size)));
  CHECK(refused(bytes + '\xc0'));
}

TEST("an unknown command, and one with another number of fields, are refused") {
  using namespace std::string_literals;
  CHECK(!refused("\x91\x91\x17"s));
  CHECK(refused("\x91\x92\x17\x01"s));
  CHECK(refused("\x91\x91\x63"s));
  CHECK(refused("\x91\x90"s));
  CHECK(!refused("\x91\x92\x07\x01"s));
  CHECK(refused("\x91\x91\x07"s));
  CHECK(!refused("\x90"s));
}

}  // namespace
