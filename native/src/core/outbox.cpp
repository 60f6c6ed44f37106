#include "core/outbox.h"

#include <utility>

namespace polyglot {

namespace {

constexpr std::size_t kGapsMax = 64;

}  // namespace

Outbox::~Outbox() { count(-static_cast<std::int64_t>(bytes_)); }

bool Outbox::put_control(Piece piece) {
  if (overflowed_ || (control_bytes_ > 0 && control_bytes_ + piece.size > kControlBytesMax)) {
    overflowed_ = true;
    return false;
  }
  control_bytes_ += piece.size;
  add(std::move(piece), Sort::control, 0, {});
  return true;
}

bool Outbox::put_event(Overflow overflow, std::uint64_t topic, std::string_view type, Piece piece) {
  if (overflow == Overflow::queue) {
    if (!admits_event(piece.size)) return false;
    event_bytes_ += piece.size;
    add(std::move(piece), Sort::queued, 0, {});
    return true;
  }
  if (overflowed_) return false;
  if (!slow_) slow_ = std::make_unique<Slow>();
  if (overflow == Overflow::conflate) {
    const std::string name = key(topic, type);
    if (const auto found = slow_->newest.find(name); found != slow_->newest.end()) {
      remove(found->second);
      if (all_ != nullptr) all_->conflated.add();
      if (app_ != nullptr) app_->conflated.add();
    }
    if (!admits_event(piece.size)) return false;
    event_bytes_ += piece.size;
    slow_->newest[name] = add(std::move(piece), Sort::conflated, topic, type);
    return true;
  }
  while (true) {
    const auto found = slow_->drops.find(topic);
    if (found == slow_->drops.end()) break;
    const Drops& drops = found->second;
    if (drops.places.size() < kDroppableFramesMax && drops.bytes + piece.size <= kDroppableBytesMax) break;
    remove(drops.places.front());
    if (all_ != nullptr) all_->dropped.add();
    if (app_ != nullptr) app_->dropped.add();
  }
  const std::size_t size = piece.size;
  const std::uint64_t place = add(std::move(piece), Sort::droppable, topic, {});
  Drops& drops = slow_->drops[topic];  // not before: to add may build the table anew
  drops.bytes += size;
  drops.places.push_back(place);
  return true;
}

void Outbox::put_begun(Piece piece, bool control) {
  (control ? control_bytes_ : event_bytes_) += piece.size;
  add(std::move(piece), control ? Sort::control : Sort::queued, 0, {});
  begun_ = true;
}

std::size_t Outbox::peek(std::string_view* pieces, std::size_t room) const {
  std::size_t filled = 0;
  for (std::size_t at = 0; at < waiting_.size() && filled < room; ++at) {
    const Waiting& waiting = waiting_[at];
    if (waiting.sort != Sort::gone) pieces[filled++] = waiting.piece.run->view(waiting.piece.at, waiting.piece.size);
  }
  return filled;
}

void Outbox::sent(std::size_t bytes) {
  while (bytes > 0) {
    const Waiting* next = oldest();
    if (next->piece.size <= bytes) {
      bytes -= next->piece.size;
      remove_oldest();
      if (bytes == 0) let_go();
      continue;
    }
    // A frame that was begun has to be ended: from here on it is one that never gives way.
    Piece rest = next->piece;
    const bool was_control = next->sort == Sort::control;
    rest.at += static_cast<std::uint32_t>(bytes);
    rest.size -= static_cast<std::uint32_t>(bytes);
    Waiting& front = waiting_.front();
    if (was_control || front.sort == Sort::queued) {
      (was_control ? control_bytes_ : event_bytes_) -= bytes;
    } else {
      const Sort sort = front.sort;
      const std::uint64_t place = first_place_;
      if (sort == Sort::conflated) {
        event_bytes_ -= front.piece.size;
        slow_->newest.erase(key(front.topic, front.type));
      } else {
        Drops& drops = slow_->drops[front.topic];
        drops.bytes -= front.piece.size;
        if (!drops.places.empty() && drops.places.front() == place) drops.places.pop_front();
        if (drops.places.empty()) slow_->drops.erase(front.topic);
      }
      front.sort = Sort::queued;
      event_bytes_ += rest.size;
    }
    front.piece = std::move(rest);
    begun_ = true;
    bytes_ -= bytes;
    count(-static_cast<std::int64_t>(bytes));
    return;
  }
}

void Outbox::clear_but_begun() {
  if (!begun_) {
    clear();
    return;
  }
  Piece rest = waiting_.front().piece;
  clear();
  put_begun(std::move(rest));
}

void Outbox::clear() {
  count(-static_cast<std::int64_t>(bytes_));
  first_place_ += waiting_.size();
  waiting_.clear();
  waiting_.shrink();
  slow_.reset();
  bytes_ = control_bytes_ = event_bytes_ = gaps_ = 0;
  overflowed_ = begun_ = false;
}

std::string Outbox::key(std::uint64_t topic, std::string_view type) {
  std::string name(reinterpret_cast<const char*>(&topic), sizeof topic);
  return name.append(type);
}

bool Outbox::admits_event(std::size_t size) {
  if (overflowed_ || (event_bytes_ > 0 && event_bytes_ + size > kQueuedBytesMax)) overflowed_ = true;
  return !overflowed_;
}

std::uint64_t Outbox::add(Piece piece, Sort sort, std::uint64_t topic, std::string_view type) {
  if (gaps_ > kGapsMax && gaps_ > waiting_.size() / 2) compact();
  const std::uint64_t place = first_place_ + waiting_.size();
  bytes_ += piece.size;
  count(piece.size);
  Waiting waiting;
  waiting.piece = std::move(piece);
  waiting.topic = topic;
  waiting.sort = sort;
  waiting.type = type;
  waiting_.push_back(std::move(waiting));
  return place;
}

void Outbox::remove(std::uint64_t place) {
  Waiting& waiting = waiting_[place - first_place_];
  const std::size_t size = waiting.piece.size;
  bytes_ -= size;
  count(-static_cast<std::int64_t>(size));
  switch (waiting.sort) {
    case Sort::control:
      control_bytes_ -= size;
      break;
    case Sort::queued:
      event_bytes_ -= size;
      break;
    case Sort::conflated:
      event_bytes_ -= size;
      slow_->newest.erase(key(waiting.topic, waiting.type));
      break;
    case Sort::droppable: {
      const auto found = slow_->drops.find(waiting.topic);
      found->second.bytes -= size;
      found->second.places.pop_front();  // a topic's oldest goes first, whether it is sent or dropped
      if (found->second.places.empty()) slow_->drops.erase(found);
      break;
    }
    case Sort::gone:
      break;
  }
  waiting = Waiting{};
  ++gaps_;
  while (!waiting_.empty() && waiting_.front().sort == Sort::gone) {
    waiting_.pop_front();
    ++first_place_;
    --gaps_;
  }
}

void Outbox::let_go() {
  if (!waiting_.empty()) return;
  slow_.reset();
  waiting_.shrink();
}

void Outbox::compact() {
  Ring<Waiting> dense;
  first_place_ += waiting_.size();  // places are never given twice
  std::unordered_map<std::string, std::uint64_t> newest;
  std::unordered_map<std::uint64_t, Drops> drops;
  for (std::size_t at = 0; at < waiting_.size(); ++at) {
    Waiting& waiting = waiting_[at];
    if (waiting.sort == Sort::gone) continue;
    const std::uint64_t place = first_place_ + dense.size();
    if (waiting.sort == Sort::conflated) newest[key(waiting.topic, waiting.type)] = place;
    if (waiting.sort == Sort::droppable) {
      Drops& topic = drops[waiting.topic];
      topic.places.push_back(place);
      topic.bytes += waiting.piece.size;
    }
    dense.push_back(std::move(waiting));
  }
  waiting_ = std::move(dense);
  gaps_ = 0;
  if (slow_) {
    slow_->newest = std::move(newest);
    slow_->drops = std::move(drops);
  }
}

const Outbox::Waiting* Outbox::oldest() { return waiting_.empty() ? nullptr : &waiting_.front(); }

void Outbox::remove_oldest() {
  begun_ = false;
  remove(first_place_);
}

void Outbox::count(std::int64_t bytes) {
  if (all_ != nullptr) all_->queued_bytes.add(static_cast<std::uint64_t>(bytes));
  if (app_ != nullptr) app_->queued_bytes.add(static_cast<std::uint64_t>(bytes));
}

}  // namespace polyglot
