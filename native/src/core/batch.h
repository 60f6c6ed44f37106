// What one topic published in one turn, from the moment its events have seqs until members have them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/records.h"
#include "core/state.h"

namespace polyglot {

// What an event's envelope counts for beside its data, wherever events wait under a bound.
inline constexpr std::size_t kEnvelopeBytes = 512;

// A gateway's `Publish`, until all its results are there.
struct PublishRequest {
  std::uint64_t request = 0;
  std::vector<PublishResult> results;
  std::size_t missing = 0;
};

// Who waits for an entry's admission.
struct Answer {
  Connection* conn = nullptr;               // a member's push, or
  std::shared_ptr<PublishRequest> request;  // an item of the gateway's
  std::uint32_t place = 0;                  // of the item
  std::uint32_t refs_at = 0;                // join_ref and ref in the batch's arena
  std::uint16_t join_ref_size = 0;
  std::uint16_t ref_size = 0;
  bool signal = false;
  bool duplicate = false;
  std::uint64_t sub = 0;
  std::uint64_t seq = 0;
  std::int64_t ts_us = 0;
  std::uint32_t id_at = 0;  // of a duplicate in the arena, else in the frames
  std::uint16_t id_size = 0;
};

struct GivenId {
  std::string user_id;
  std::string id;
  std::uint64_t seq = 0;
};

struct Batch {
  Topic* topic = nullptr;
  bool logged = false;
  std::uint32_t epochs = 0;  // the topic's, when it began
  std::string frames;               // of socket_v2
  std::vector<std::uint32_t> ends;  // of each entry's frame
  std::vector<Entry> entries;
  std::string types;
  std::string arena;
  std::vector<Answer> answers;
  std::vector<GivenId> ids;
  std::uint64_t log_from = 0;  // of its records in the commit's
  std::uint64_t log_to = 0;
  std::uint64_t data_bytes = 0;
  std::size_t waiting_bytes = 0;  // what it counts for while it waits for the log
  std::uint64_t first_seq = 0;
  std::uint64_t last_seq = 0;
  std::int64_t last_ts_us = 0;

  // As new, but for the memory that it has.
  void clear() {
    Batch fresh;
    frames.clear();
    arena.clear();
    answers.clear();
    fresh.frames.swap(frames);
    fresh.arena.swap(arena);
    fresh.answers.swap(answers);
    *this = std::move(fresh);
  }
};

// An item of a large `Publish`, which members get bit by bit.
struct PacedItem {
  std::shared_ptr<PublishRequest> request;
  std::uint32_t place = 0;
  std::uint64_t topic = 0;
  std::string type, data, id, user_id;
};

// What one app's gateway publishes wait for.
struct Pace {
  std::deque<PacedItem> items;
  std::size_t waiting = 0;  // bytes of these
  std::int64_t last_us = 0;  // when some were published
  std::uint64_t turn = 0;    // in which these count what was published
  std::size_t events = 0;
  std::size_t bytes = 0;
};

// All batches of a turn that share a write to the log, or need none.
struct Commit {
  std::vector<std::unique_ptr<Batch>> batches;
  std::string records;
  std::uint64_t position = 0;  // where the records begin in the log
  std::uint64_t end = 0;
  bool wrote = false;  // anything to the log
  bool empty() const { return batches.empty(); }
};

}  // namespace polyglot
