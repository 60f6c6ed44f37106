#include "publishing.h"

#include <sys/prctl.h>

#include <algorithm>
#include <bit>

#include "summary.h"

namespace polyglot::load {
namespace {

constexpr std::uint32_t kUnderWayMax = 1024;        // of a connection, in an open loop
constexpr std::uint64_t kRefusedMax = 20;           // more say that the run is not what was asked for
constexpr std::int64_t kCheckEveryNs = 10'000'000;  // whether all has come, at the end
constexpr std::int64_t kGapNs = 200'000'000;
constexpr std::int64_t kReopenAfterNs = 500'000'000;
constexpr std::size_t kReasonsMax = 32;
constexpr std::size_t kReasonBytesMax = 160;

}  // namespace

Publishing::Publishing(Fleet& fleet, const plg_load_traffic& traffic, std::map<std::string, std::uint64_t>& reasons)
    : fleet_(fleet), traffic_(traffic), reasons_(reasons) {
  if (fleet.connections().empty()) throw Failure(PLG_LOAD_INVALID, "nobody is connected");
  if (!closed_loop() && !(traffic.rate > 0)) throw Failure(PLG_LOAD_INVALID, "an open loop needs a rate");
  if (traffic.publishers == 0) throw Failure(PLG_LOAD_INVALID, "somebody must publish");
}

plg_load_published Publishing::run() {
  prctl(PR_SET_TIMERSLACK, 1);  // else the kernel may wake us 50 us late
  prepare();
  began_ns_ = monotonic_ns();
  measure_ns_ = began_ns_ + nanoseconds(traffic_.warm_up_s);
  end_ns_ = measure_ns_ + nanoseconds(traffic_.seconds);
  drain_ns_ = end_ns_ + nanoseconds(traffic_.drain_s);
  interval_ns_ = closed_loop() ? 0 : 1e9 / traffic_.rate;
  fleet_.progress().began_ns = began_ns_;
  fleet_.progress().total_s = traffic_.warm_up_s + traffic_.seconds;
  if (traffic_.warm_up_s <= 0) move_on(began_ns_);  // the first publishes count too
  if (closed_loop()) start_slots();
  for (;;) {
    std::int64_t until_ns = phase_ == Phase::warming_up  ? measure_ns_
                            : phase_ == Phase::measuring ? end_ns_
                                                         : drain_ns_;
    const std::int64_t now = monotonic_ns();
    if (now >= until_ns) {
      if (phase_ == Phase::draining) break;
      move_on(now);
      continue;
    }
    if (phase_ == Phase::draining && now >= next_check_ns_) {
      if (all_has_come(now)) break;
      next_check_ns_ = now + kCheckEveryNs;
    }
    if (!ended_.empty()) reopen_ended(now);
    if (!closed_loop() && phase_ != Phase::draining) {
      publish_due(now);
      const auto next_ns = began_ns_ + static_cast<std::int64_t>(static_cast<double>(due_count_) * interval_ns_);
      until_ns = std::min(until_ns, next_ns);
    }
    fleet_.turn(*this, until_ns);
    Progress& progress = fleet_.progress();
    progress.published.store(all_.published, std::memory_order_relaxed);
    progress.acknowledged.store(all_.acknowledged, std::memory_order_relaxed);
    progress.delivered.store(all_.delivered, std::memory_order_relaxed);
    progress.refused.store(counted_.refused, std::memory_order_relaxed);
  }
  count_losses();
  return result();
}

void Publishing::prepare() {
  const std::uint32_t publishers = traffic_.publishers;
  for (const auto& room : fleet_.rooms()) {
    room->acknowledged = 0;
    room->last_seq = 0;
    for (Connection* member : room->members) {
      member->received = 0;
      member->under_way = 0;
      member->slots = 0;
      room->last_seq = std::max(room->last_seq, member->order.last());
    }
    const std::uint32_t here = std::min(publishers, static_cast<std::uint32_t>(room->members.size()));
    for (std::uint32_t slot = 0; slot < traffic_.in_flight; ++slot) ++room->members[slot % here]->slots;
    for (std::uint32_t i = 0; i < here; ++i) {
      Connection& member = *room->members[i];
      const std::uint32_t room_for = closed_loop() ? std::bit_ceil(4 * std::max(member.slots, 1u)) : kUnderWayMax;
      member.due_ns.assign(room_for, -1);
    }
  }
}

void Publishing::start_slots() {
  for (const auto& connection : fleet_.connections()) {
    const std::int64_t now = monotonic_ns();
    for (std::uint32_t i = 0; i < connection->slots; ++i) publish(*connection, now);
    fleet_.flush(*connection, *this);
  }
}

void Publishing::move_on(std::int64_t now) {
  if (phase_ == Phase::warming_up) {
    phase_ = Phase::measuring;
    reading_before_ = fleet_.meter().read();
    before_ = all_;
    measure_ns_ = now;
  } else {
    phase_ = Phase::draining;
    reading_after_ = fleet_.meter().read();
    after_ = all_;
  }
}

// The n-th publish goes to room n, then n + 1, ..., and with each round to the next publisher of a room.
void Publishing::publish_due(std::int64_t now) {
  const auto& rooms = fleet_.rooms();
  for (;; ++due_count_) {
    const auto due_ns = began_ns_ + static_cast<std::int64_t>(static_cast<double>(due_count_) * interval_ns_);
    if (due_ns > now) return;
    const auto& members = rooms[due_count_ % rooms.size()]->members;
    const std::size_t publishers = std::min<std::size_t>(traffic_.publishers, members.size());
    Connection& connection = *members[due_count_ / rooms.size() % publishers];
    publish(connection, due_ns);
    fleet_.flush(connection, *this);
  }
}

void Publishing::publish(Connection& connection, std::int64_t due_ns) {
  if (connection.state != Connection::State::joined) {
    ++counted_.unsent;
    return;
  }
  std::int64_t& place = connection.due_ns[connection.next_ref & (connection.due_ns.size() - 1)];
  if (fleet_.target().dialect != Dialect::raw) {
    if (place >= 0) {  // as many are under way as we remember
      ++counted_.unsent;
      return;
    }
    place = due_ns;
  }
  const Stamp stamp{due_ns, connection.number};
  counted_.publish_bytes = static_cast<std::uint32_t>(fleet_.publish(connection, connection.next_ref, stamp));
  ++connection.next_ref;
  ++connection.under_way;
  ++under_way_;
  ++all_.published;
}

// One publish has its answer: in a closed loop its place is free for the next.
void Publishing::settle(Connection& connection, std::int64_t due_ns, std::int64_t now) {
  if (connection.under_way > 0) {
    --connection.under_way;
    --under_way_;
  }
  ++connection.room->acknowledged;
  ++all_.acknowledged;
  if (is_measured(due_ns)) acknowledgement_.record(static_cast<std::uint64_t>(std::max<std::int64_t>(now - due_ns, 0)));
  if (closed_loop() && phase_ != Phase::draining) publish(connection, now);
}

void Publishing::on_joined(Connection& connection, std::int64_t now) {
  for (std::uint32_t i = 0; i < connection.slots && phase_ != Phase::draining; ++i) publish(connection, now);
  fleet_.flush(connection, *this);
}

void Publishing::on_delivery(Connection& connection, const Incoming& incoming, std::size_t bytes, std::int64_t now) {
  ++connection.received;
  ++all_.delivered;
  all_.delivered_bytes += bytes;
  counted_.event_bytes = static_cast<std::uint32_t>(bytes);
  last_delivery_ns_ = now;
  if (incoming.has_seq) connection.order.take(incoming.seq, faults_);
  if (!incoming.stamped) return;
  if (is_measured(incoming.stamp.due_ns)) {
    delivery_.record(static_cast<std::uint64_t>(std::max<std::int64_t>(now - incoming.stamp.due_ns, 0)));
  }
  if (fleet_.target().dialect == Dialect::raw && incoming.stamp.sender == connection.number) {
    settle(connection, incoming.stamp.due_ns, now);
  }
}

void Publishing::on_reply(Connection& connection, const Incoming& incoming, std::size_t bytes, std::int64_t now) {
  const bool ours = !connection.due_ns.empty() && incoming.ref > kJoinRef && incoming.ref < connection.next_ref;
  std::int64_t due_ns = -1;
  if (ours) std::swap(due_ns, connection.due_ns[incoming.ref & (connection.due_ns.size() - 1)]);
  if (due_ns < 0) {
    on_foreign(connection, "a reply to nothing, or a second one");
    return;
  }
  counted_.acknowledgement_bytes = static_cast<std::uint32_t>(bytes);
  if (incoming.ok) {
    connection.room->last_seq = std::max(connection.room->last_seq, incoming.seq);
    settle(connection, due_ns, now);
    return;
  }
  ++counted_.refused;
  note("refused: ", incoming.reason);
  if (traffic_.tolerant == 0 && counted_.refused >= kRefusedMax) {
    throw Failure(PLG_LOAD_REFUSED, "the server refused " + std::to_string(counted_.refused) +
                                        " publishes, the last as " + std::string(incoming.reason));
  }
  --connection.under_way;
  --under_way_;
  if (closed_loop() && phase_ != Phase::draining) publish(connection, now);
}

void Publishing::note(const char* what, std::string_view words) {
  const std::string reason = what + std::string(words.substr(0, kReasonBytesMax));
  if (reasons_.size() < kReasonsMax || reasons_.contains(reason)) ++reasons_[reason];
}

void Publishing::on_foreign(Connection&, std::string_view frame) {
  ++counted_.foreign;
  note("unexpected: ", frame);
}

void Publishing::on_ended(Connection& connection, const Ended& ended) {
  if (traffic_.tolerant == 0) Step::on_ended(connection, ended);
  ++counted_.closed;
  note("ended: ", ended.words);
  under_way_ -= connection.under_way;
  connection.under_way = 0;
  std::fill(connection.due_ns.begin(), connection.due_ns.end(), -1);
  connection.began_ns = monotonic_ns();
  ended_.push_back(&connection);
}

void Publishing::reopen_ended(std::int64_t now) {
  std::vector<Connection*> later;
  std::vector<Connection*> ended;
  ended.swap(ended_);
  for (Connection* connection : ended) {
    if (now - connection->began_ns < kReopenAfterNs || phase_ == Phase::draining) {
      later.push_back(connection);
    } else {
      fleet_.open(*connection, *this);
    }
  }
  ended_.insert(ended_.end(), later.begin(), later.end());
}

bool Publishing::all_has_come(std::int64_t now) {
  if (under_way_ > 0) return false;
  if (traffic_.tolerant != 0) return true;
  count_losses();
  // Where every member has the newest event, a gap is filled soon or never: some kinds leave out events by intent.
  return counted_.lost == 0 || (counted_.lost == faults_.missing && now - last_delivery_ns_ > kGapNs);
}

// By seq where the server gives one: an event that another publisher sent counts too. Else by number.
void Publishing::count_losses() {
  const Target& target = fleet_.target();
  counted_.unanswered = under_way_;
  counted_.duplicates = faults_.duplicates;
  counted_.out_of_order = faults_.out_of_order;
  counted_.lost = 0;
  if (traffic_.tolerant != 0 || target.broadcast_event.empty()) return;
  counted_.lost = faults_.missing;
  for (const auto& room : fleet_.rooms()) {
    for (const Connection* member : room->members) {
      if (target.dialect == Dialect::polyglot) {
        if (member->order.last() < room->last_seq) counted_.lost += room->last_seq - member->order.last();
      } else if (member->received < room->acknowledged) {
        counted_.lost += room->acknowledged - member->received;
      } else {
        counted_.duplicates += member->received - room->acknowledged;
      }
    }
  }
}

plg_load_published Publishing::result() const {
  plg_load_published result = counted_;
  result.usage = Meter::between(reading_before_, reading_after_);
  result.published = after_.published - before_.published;
  result.acknowledged = after_.acknowledged - before_.acknowledged;
  result.delivered = after_.delivered - before_.delivered;
  result.delivered_bytes = after_.delivered_bytes - before_.delivered_bytes;
  result.delivery = summary_of(delivery_);
  result.acknowledgement = summary_of(acknowledgement_);
  return result;
}

}  // namespace polyglot::load
