// Ids that publishers gave, with the answer that the first publish got: 5 minutes, the newest 10,000 of a channel.
// Reference: polyglotd/channels/dedupe.py. An id is entered when its event gets a seq; where the log then refuses the
// event, it is taken out again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/ring.h"

namespace polyglot {

class Dedupe {
 public:
  static constexpr std::int64_t kWindowUs = 300'000'000;
  static constexpr std::size_t kIdsMax = 10'000;

  struct Known {
    std::uint64_t seq = 0;
    std::int64_t ts_us = 0;
  };

  // Null: the id is new.
  const Known* find(std::string_view user_id, std::string_view id, std::int64_t now_us) {
    if (!table_) return nullptr;
    const auto found = table_->known.find(key(user_id, id));
    if (found == table_->known.end() || now_us - found->second.ts_us >= kWindowUs) return nullptr;
    return &found->second;
  }
  void remember(std::string_view user_id, std::string_view id, std::uint64_t seq, std::int64_t ts_us) {
    if (!table_) table_ = std::make_unique<Table>();
    std::string name = key(user_id, id);
    table_->known[name] = Known{seq, ts_us};
    table_->order.push_back({std::move(name), seq});
    while (table_->known.size() > kIdsMax) forget_oldest();
    expire(ts_us);
  }
  void forget(std::string_view user_id, std::string_view id, std::uint64_t seq) {
    if (!table_) return;
    const auto found = table_->known.find(key(user_id, id));
    if (found != table_->known.end() && found->second.seq == seq) table_->known.erase(found);
  }
  void expire(std::int64_t now_us) {
    if (!table_) return;
    while (!table_->order.empty()) {
      const auto found = table_->known.find(table_->order.front().name);
      const bool current = found != table_->known.end() && found->second.seq == table_->order.front().seq;
      if (current && now_us - found->second.ts_us < kWindowUs) return;
      forget_oldest();
    }
    if (table_->known.empty()) table_.reset();
  }
  void clear() { table_.reset(); }
  bool empty() const { return !table_ || table_->known.empty(); }

 private:
  struct Entry {
    std::string name;
    std::uint64_t seq = 0;
  };
  struct Table {
    std::unordered_map<std::string, Known> known;
    Ring<Entry> order;  // oldest first; entries whose id was entered again or taken out are stale
  };

  static std::string key(std::string_view user_id, std::string_view id) {
    std::string name;
    name.reserve(user_id.size() + 1 + id.size());
    return name.append(id).append(1, '\0').append(user_id);  // an id has no zero byte
  }
  void forget_oldest() {
    const Entry& oldest = table_->order.front();
    const auto found = table_->known.find(oldest.name);
    if (found != table_->known.end() && found->second.seq == oldest.seq) table_->known.erase(found);
    table_->order.pop_front();
  }

  std::unique_ptr<Table> table_;
};

}  // namespace polyglot
