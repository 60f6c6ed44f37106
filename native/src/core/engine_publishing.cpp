// The way of a publish or a signal from its payload to the members and the answer.
// Reference: polyglotd/plane/asgi/publishing.py and committer.py.
#include <algorithm>

#include "core/engine.h"
#include "log/record.h"
#include "phoenix/frames.h"
#include "phoenix/json_text.h"
#include "websocket/frame_writer.h"

namespace polyglot {

namespace {

constexpr std::size_t kLogWaitingBytes = 64 << 20;  // over all apps: some seconds of a disk that does not answer

constexpr std::size_t kSpareBatches = 256;
constexpr std::size_t kSpareBytes = 16 << 10;  // of one
constexpr std::size_t kSpareRecordsBytes = 1 << 20;

std::uint32_t append(std::string& arena, std::string_view text) {
  const auto at = static_cast<std::uint32_t>(arena.size());
  arena += text;
  return at;
}

std::string_view part(const std::string& arena, std::uint32_t at, std::size_t size) {
  return std::string_view(arena).substr(at, size);
}

Refusal too_large(std::int64_t limit) {
  Refusal refusal{"payload_too_large", "data has at most " + std::to_string(limit) + " bytes"};
  refusal.limit = limit;
  return refusal;
}

Refusal unavailable(const char* why, std::int64_t retry_after_ms = 1000) {
  Refusal refusal{"unavailable", why};
  refusal.retry_after_ms = retry_after_ms;
  return refusal;
}

// What was used up is the gateway's to count; a known id, which costs nothing, is answered all the same.
bool has_quota(const App& app, bool logged, Refusal& refusal) {
  if (app.events_used_up) {
    refusal = Refusal{"quota_exceeded", "the app has used up its events of this month"};
    refusal.quota = "events-per-month";
    return false;
  }
  if (logged && app.bytes_used_up) {
    refusal = Refusal{"quota_exceeded", "the app has as many bytes stored as it may"};
    refusal.quota = "stored-bytes";
    return false;
  }
  return true;
}

Refusal refusal_of(AppendError error) {
  switch (error) {
    case AppendError::full:
      return unavailable("the event log is full: its readers are behind by [log] bytes_max");
    case AppendError::failed:
      return unavailable("the event log has failed; the server must be started again", 10'000);
    default:
      return unavailable("the event log can't be written to");
  }
}

PublishResult result_of(const Refusal& refusal) {
  PublishResult result;
  result.reason = refusal.reason;
  result.message = refusal.message;
  if (refusal.reason == "payload_too_large") result.limit = refusal.limit;
  result.quota = refusal.quota;
  if (refusal.reason == "unavailable") result.retry_after_ms = refusal.retry_after_ms;
  return result;
}

}  // namespace

// --- members

bool Engine::check_content(Sub& sub, const Message& message, Content& content, Refusal& refusal) {
  if (!content_.read(message.payload, content, refusal)) return false;
  if (!sub.may_publish) {
    refusal = Refusal{"forbidden", "this token may not publish on this channel"};
    return false;
  }
  const std::int64_t limit = sub.topic->app->payload_bytes;
  if (static_cast<std::int64_t>(content.data.size()) > limit) {
    refusal = too_large(limit);
    return false;
  }
  return true;
}

void Engine::publish(Sub& sub, const Message& message) {
  Connection& conn = *sub.conn;
  Topic& topic = *sub.topic;
  Content content;
  Refusal refusal;
  if (!check_content(sub, message, content, refusal)) {
    refuse_message(conn, sub.join_ref, message, refusal);
    return;
  }
  Answer answer;
  answer.conn = &conn;
  answer.sub = sub.id;
  answer.join_ref_size = static_cast<std::uint16_t>(sub.join_ref.size());
  answer.ref_size = static_cast<std::uint16_t>(message.ref.size());
  const Dedupe::Known* known = content.id.empty() ? nullptr : topic.dedupe.find(conn.user_id, content.id, wall_us_);
  const bool logged = topic.is_logged();
  if (known != nullptr) {
    counters_.duplicates.add();
    answer.duplicate = true;
    answer.seq = known->seq;
    answer.ts_us = known->ts_us;
  } else if (!has_quota(*topic.app, logged, refusal) || !take_rate(conn, refusal) ||
             (logged && !log_has_room(content.data.size(), refusal))) {
    refuse_message(conn, sub.join_ref, message, refusal);
    return;
  }
  Batch& batch = batch_of(topic, logged);
  answer.refs_at = append(batch.arena, sub.join_ref);
  append(batch.arena, message.ref);
  if (known != nullptr) {
    answer.id_at = append(batch.arena, content.id);
    answer.id_size = static_cast<std::uint16_t>(content.id.size());
  } else {
    answer.seq = add_event(topic, batch, logged, content.type, content.data, content.id, conn.user_id, sub.id);
    const Entry& entry = batch.entries.back();
    answer.id_at = entry.payload_at + KeptEvent::kIdAt;  // in the frames
    answer.id_size = entry.kept.id_size;
    answer.ts_us = topic.ts_us;
  }
  ++conn.pending;
  batch.answers.push_back(std::move(answer));
}

void Engine::signal(Sub& sub, const Message& message) {
  Connection& conn = *sub.conn;
  Topic& topic = *sub.topic;
  Content content;
  Refusal refusal;
  if (!check_content(sub, message, content, refusal) || !take_rate(conn, refusal)) {
    refuse_message(conn, sub.join_ref, message, refusal);
    return;
  }
  counters_.signals.add();
  Batch& batch = batch_of(topic, false);
  text_.clear();
  append_signal(text_, topic.names.app_id, topic.names.channel, content.type, content.data, conn.user_id,
                next_ts_us(topic));
  Entry entry;
  entry.origin = sub.id;
  entry.received_us = steady_us_;
  entry.type_at = append(batch.types, "signal ");  // a type that no event has: it holds a space
  batch.types += content.type;
  entry.type_size = static_cast<std::uint32_t>(batch.types.size()) - entry.type_at;
  append_message_frame(batch.frames, Wire::socket_v2, topic, "\"signal\"", text_);
  // The payload ends the frame, but for the bracket.
  entry.payload_size = static_cast<std::uint32_t>(text_.size());
  entry.payload_at = static_cast<std::uint32_t>(batch.frames.size() - 1 - text_.size());
  batch.ends.push_back(static_cast<std::uint32_t>(batch.frames.size()));
  spend(topic, text_.size());
  batch.entries.push_back(std::move(entry));
  Answer answer;
  answer.conn = &conn;
  answer.sub = sub.id;
  answer.signal = true;
  answer.join_ref_size = static_cast<std::uint16_t>(sub.join_ref.size());
  answer.ref_size = static_cast<std::uint16_t>(message.ref.size());
  answer.refs_at = append(batch.arena, sub.join_ref);
  append(batch.arena, message.ref);
  ++conn.pending;
  batch.answers.push_back(std::move(answer));
}

// --- the gateway

void Engine::publish_item(const std::shared_ptr<PublishRequest>& request, std::uint32_t place,
                          const command::PublishItem& item) {
  Answer answer;
  answer.request = request;
  answer.place = place;
  PublishResult& result = request->results[place];
  const auto found = topics_.find(item.topic);
  Refusal refusal;
  if (found == topics_.end()) {
    refusal = unavailable("the channel has just closed");
  } else if (static_cast<std::int64_t>(item.data.size()) > found->second->app->payload_bytes) {
    refusal = too_large(found->second->app->payload_bytes);
  }
  const Dedupe::Known* known = nullptr;
  bool logged = false;
  if (refusal.reason.empty()) {
    Topic& topic = *found->second;
    logged = topic.is_logged();
    known = item.id.empty() ? nullptr : topic.dedupe.find(item.user_id, item.id, wall_us_);
    if (known == nullptr && has_quota(*topic.app, logged, refusal) && logged) {
      log_has_room(item.data.size(), refusal);
    }
  }
  if (!refusal.reason.empty()) {
    counters_.count_refusal(refusal.reason);
    result = result_of(refusal);
    finish_item(answer);
    return;
  }
  Topic& topic = *found->second;
  Batch& batch = batch_of(topic, logged);
  result.accepted = true;
  if (known != nullptr) {
    counters_.duplicates.add();
    result.duplicate = true;
    result.id = item.id;
    result.seq = known->seq;
    result.ts_us = known->ts_us;
  } else {
    answer.seq = add_event(topic, batch, logged, item.type, item.data, item.id, item.user_id, 0);
    const Entry& entry = batch.entries.back();
    result.id = part(batch.frames, entry.payload_at + KeptEvent::kIdAt, entry.kept.id_size);
    result.seq = answer.seq;
    result.ts_us = topic.ts_us;
  }
  batch.answers.push_back(std::move(answer));
}

void Engine::finish_item(const Answer& answer) {
  PublishRequest& request = *answer.request;
  if (--request.missing == 0) records_.publish_results(request.request, request.results);
}

// --- both

bool Engine::log_has_room(std::size_t size, Refusal& refusal) const {
  if (log_waiting_ + size + kEnvelopeBytes <= kLogWaitingBytes) return true;
  refusal = unavailable("too many events wait for the log");
  return false;
}

Batch& Engine::batch_of(Topic& topic, bool logged) {
  Batch*& batch = logged ? topic.logged_batch : topic.quick_batch;
  if (batch == nullptr) {
    Commit& commit = logged ? logged_ : quick_;
    std::unique_ptr<Batch> made;
    if (spare_batches_.empty()) {
      made = std::make_unique<Batch>();
    } else {
      made = std::move(spare_batches_.back());
      spare_batches_.pop_back();
    }
    made->topic = &topic;
    made->logged = logged;
    made->epochs = topic.epochs;
    made->log_from = made->log_to = commit.records.size();
    batch = made.get();
    commit.batches.push_back(std::move(made));
    ++topic.waiting;
    if (logged) ++topic.waiting_for_log;
    if (topic.members.size() <= kServedAtOnce) spent(*topic.app).messages += topic.member_count;
  }
  return *batch;
}

// What goes to few members costs its app this turn; what goes to many is served in slices, and counts as a job.
void Engine::spend(const Topic& topic, std::size_t frame_bytes) const {
  const std::size_t members = topic.members.size() <= kServedAtOnce ? topic.member_count : 1;
  spent(*topic.app).bytes += frame_bytes * members;
}

std::uint64_t Engine::add_event(Topic& topic, Batch& batch, bool logged, std::string_view type, std::string_view data,
                                std::string_view id, std::string_view user_id, std::uint64_t origin) {
  const std::uint64_t seq = ++topic.assigned;
  topic.ts_us = next_ts_us(topic);
  const bool id_given = !id.empty();
  char made_id[EventIds::kBytes];
  if (!id_given) {
    scratch_.clear();
    ids_.append(scratch_, topic.ts_us);
    std::copy_n(scratch_.data(), EventIds::kBytes, made_id);
    id = std::string_view(made_id, EventIds::kBytes);
  }
  scratch_.clear();
  time_.append(scratch_, topic.ts_us);
  user_json_ = "null";
  if (!user_id.empty()) {
    user_json_.clear();
    append_json_string(user_json_, user_id);
  }
  text_.clear();
  KeptEvent kept = append_kept_envelope(text_, topic.names, id, type, data, seq, user_json_, topic.ts_us, scratch_);
  Entry entry;
  entry.seq = seq;
  entry.origin = origin;
  entry.received_us = steady_us_;
  append_event_frame(batch.frames, Wire::socket_v2, topic, seq, text_);
  entry.payload_size = static_cast<std::uint32_t>(text_.size());
  entry.payload_at = static_cast<std::uint32_t>(batch.frames.size() - 1 - text_.size());  // before the bracket
  kept.at = entry.payload_at;
  spend(topic, text_.size());
  entry.kept = std::move(kept);
  batch.entries.push_back(std::move(entry));
  batch.ends.push_back(static_cast<std::uint32_t>(batch.frames.size()));
  if (batch.first_seq == 0) batch.first_seq = seq;
  batch.last_seq = seq;
  batch.last_ts_us = topic.ts_us;
  batch.data_bytes += data.size();
  if (id_given) {
    topic.dedupe.remember(user_id, id, seq, topic.ts_us);
    batch.ids.push_back({std::string(user_id), std::string(id), seq});
  }
  if (logged) {
    EventView event;
    event.id = id;
    event.app_id = topic.names.app_id;
    event.channel = topic.names.channel;
    event.epoch = topic.epoch;
    event.seq = seq;
    event.type = type;
    event.data = data;
    event.user_id = user_id;
    event.ts_us = topic.ts_us;
    if (batch.log_to == batch.log_from) batch.log_from = logged_.records.size();
    append_event_record(logged_.records, topic.log_key, event, id_given);
    batch.log_to = logged_.records.size();
    batch.waiting_bytes += data.size() + kEnvelopeBytes;
    log_waiting_ += data.size() + kEnvelopeBytes;
  }
  return seq;
}

// A batch is made for each topic of each turn: its memory serves again.
void Engine::spare(Commit& commit) {
  for (std::unique_ptr<Batch>& batch : commit.batches) {
    if (spare_batches_.size() == kSpareBatches) break;
    if (batch->frames.capacity() + batch->arena.capacity() > kSpareBytes) continue;
    batch->clear();
    spare_batches_.push_back(std::move(batch));
  }
  commit.batches.clear();
}

// --- the end of a turn

void Engine::commit() {
  if (!quick_.empty()) {
    Commit commit = std::move(quick_);
    quick_ = Commit{};
    for (const auto& batch : commit.batches) batch->topic->quick_batch = nullptr;
    release(commit);
  }
  if (logged_.empty()) return;
  Commit commit = std::move(logged_);
  logged_ = Commit{};
  for (const auto& batch : commit.batches) {
    if (batch->topic->logged_batch == batch.get()) batch->topic->logged_batch = nullptr;
  }
  if (!commit.records.empty()) {
    if (log_ != nullptr && untold_ == UpQueue::kAllTold) sockets_.log_grows_from(untold_ = log_->end());
    const AppendError error = log_ == nullptr ? AppendError::io : log_->append(commit.records, true, commit.position);
    if (error != AppendError::none) {
      counters_.log_refused.add();
      refuse_commit(commit, refusal_of(error));
      return;
    }
    counters_.log_writes.add();
    commit.end = commit.position + commit.records.size();
    commit.records.clear();
    commit.wrote = true;
    if (commit.records.capacity() <= kSpareRecordsBytes) logged_.records.swap(commit.records);  // for the next turn
  }
  if (settings_.log_always) {
    if (log_failed_) {
      if (commit.wrote) refused_from_ = std::min(refused_from_, commit.position);
      refuse_commit(commit, refusal_of(AppendError::failed));
      return;
    }
    const std::uint64_t end = commit.end > 0 ? commit.end : (unsynced_.empty() ? 0 : unsynced_.back().end);
    commit.end = end;
    unsynced_.push_back(std::move(commit));
    sockets_.sync_wanted(end);
    return;
  }
  release(commit);
}

void Engine::synced(std::uint64_t position, bool ok) {
  log_failed_ = log_failed_ || !ok;
  while (!unsynced_.empty() && unsynced_.front().end <= position) {
    synced_.push_back(std::move(unsynced_.front()));
    unsynced_.pop_front();
  }
  if (ok) return;
  while (!unsynced_.empty()) {
    if (unsynced_.front().wrote) refused_from_ = std::min(refused_from_, unsynced_.front().position);
    refuse_commit(unsynced_.front(), refusal_of(AppendError::failed));
    unsynced_.pop_front();
  }
  commit();  // what this turn has published is refused, too, before anybody gets a seq behind it
}

void Engine::waits_no_more(const Batch& batch) {
  --batch.topic->waiting;
  if (batch.logged && batch.epochs == batch.topic->epochs) --batch.topic->waiting_for_log;
  log_waiting_ -= batch.waiting_bytes;
}

// Nothing of it was seen by anybody: its seqs are free again.
void Engine::refuse_commit(Commit& commit, const Refusal& refusal) {
  for (auto at = commit.batches.rbegin(); at != commit.batches.rend(); ++at) {
    Batch& batch = **at;
    Topic& topic = *batch.topic;
    waits_no_more(batch);
    if (batch.epochs == topic.epochs) {
      if (batch.first_seq > 0) topic.assigned = std::min(topic.assigned, batch.first_seq - 1);
      for (const GivenId& given : batch.ids) topic.dedupe.forget(given.user_id, given.id, given.seq);
    }
    for (const Answer& waiting : batch.answers) answer(batch, waiting, &refusal);
  }
}

void Engine::release(Commit& commit) {
  for (const auto& batch : commit.batches) release(*batch, commit);
  spare(commit);
}

// Where in the log that begins which this loop has written and members have not seen.
std::uint64_t Engine::first_unreleased() const {
  for (const std::deque<Commit>* commits : {&synced_, &unsynced_}) {
    for (const Commit& commit : *commits) {
      if (commit.wrote) return std::min(commit.position, refused_from_);
    }
  }
  return refused_from_;
}

void Engine::release(Batch& batch, const Commit& commit) {
  Topic& topic = *batch.topic;
  waits_no_more(batch);
  if (batch.epochs != topic.epochs) {
    const Refusal refusal = unavailable("the channel began a new epoch meanwhile");
    for (const Answer& waiting : batch.answers) answer(batch, waiting, &refusal);
    return;
  }
  if (!batch.entries.empty()) {
    const RunRef run = RunRef::of(batch.frames);
    for (Entry& entry : batch.entries) {
      if (entry.seq == 0) continue;
      entry.kept.run = run;
      topic.window.append(entry.kept);
      if (topic.policy.snapshot) topic.snapshot.put(entry.seq, entry.kept);
    }
    if (batch.last_seq > 0) {
      note_published(topic, batch, commit);
      topic.seq = batch.last_seq;
      const std::uint64_t events = batch.last_seq - batch.first_seq + 1;
      counters_.events.add(events);
      topic.app->tally->events.add(events);
      touch(topic);
    }
    if (topic.member_count > 0) {
      auto fanout = FanoutRef::make();
      fanout->topic = &topic;
      fanout->overflow = topic.policy.overflow;
      fanout->events = batch.last_seq == 0 ? 0 : static_cast<std::uint32_t>(batch.last_seq - batch.first_seq + 1);
      fanout->first_seq = batch.first_seq;
      fanout->entries = std::move(batch.entries);
      fanout->types = std::move(batch.types);
      build_runs(*fanout, run, std::move(batch.ends));
      fanout->generation = ++topic.generation;
      begin_fanout(fanout);
      for (const Answer& waiting : batch.answers) {
        if (fanout->next >= topic.members.size()) break;  // all have it already
        if (waiting.conn == nullptr) continue;
        Sub* sub = sub_of(*waiting.conn, waiting.sub);
        if (sub == nullptr || sub->topic != &topic || sub->slot < fanout->next || sub->born >= fanout->generation) {
          continue;
        }
        for (const auto& job : topic.app->jobs) {  // and what is still under way to it from before
          if (job->topic == &topic && sub->slot >= job->next && sub->born < job->generation) offer(*sub, job);
        }
        sub->born = fanout->generation;
      }
    }
  }
  for (const Answer& waiting : batch.answers) answer(batch, waiting, nullptr);
}

void Engine::answer(const Batch& batch, const Answer& answer, const Refusal* refusal) {
  if (answer.request) {
    if (refusal != nullptr) {
      counters_.count_refusal(refusal->reason);
      answer.request->results[answer.place] = result_of(*refusal);
    }
    finish_item(answer);
    return;
  }
  Connection& conn = *answer.conn;
  if (--conn.pending == 0 && !conn.want_read) answered_ = true;
  if (conn.closing != Connection::Closing::open) return;
  const std::string_view join_ref = part(batch.arena, answer.refs_at, answer.join_ref_size);
  const std::string_view ref = part(batch.arena, answer.refs_at + answer.join_ref_size, answer.ref_size);
  text_.clear();
  if (refusal != nullptr) {
    append_refusal(text_, *refusal);
  } else if (answer.signal) {
    text_ = "{}";
  } else {
    const std::string_view id = part(answer.duplicate ? batch.arena : batch.frames, answer.id_at, answer.id_size);
    text_.append("{\"id\":\"").append(id).append("\",\"seq\":").append(std::to_string(answer.seq));
    text_.append(",\"ts\":\"");
    time_.append(text_, answer.ts_us);
    text_.append(answer.duplicate ? "\",\"duplicate\":true}" : "\"}");
  }
  frame_.clear();
  append_reply(frame_, serializer_of(conn.wire), join_ref, ref, batch.topic->channel_json, refusal == nullptr, text_);
  reply_soon(conn, frame_);
  if (refusal != nullptr) refused(conn, refusal->reason);
}

}  // namespace polyglot
