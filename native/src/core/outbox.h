// What waits for one connection whose socket took no more (or that has none), and what gives way: the overflow policies
// of the contract. Frames are views into shared runs. A connection that keeps up never has anything here.
// Reference: polyglotd/channels/outbox.py.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/counter.h"
#include "core/ring.h"
#include "core/run.h"

namespace polyglot {

enum class Overflow : std::uint8_t { queue, conflate, drop };

// Sums over all outboxes that share it. `queued_bytes` is of now.
struct OutboxTally {
  Counter queued_bytes;
  Counter conflated;
  Counter dropped;
};

class Outbox {
 public:
  static constexpr std::size_t kQueuedBytesMax = 1 << 20;  // of waiting events, a connection
  static constexpr std::size_t kControlBytesMax = 8 << 20;  // eight full history pages that nobody reads
  static constexpr std::size_t kDroppableFramesMax = 64;  // a topic: a second of a fast game
  static constexpr std::size_t kDroppableBytesMax = 64 << 10;
  static constexpr std::size_t kLowWater = 256 << 10;  // a catching-up member gets its next page below it

  struct Piece {
    RunRef run;
    std::uint32_t at = 0;
    std::uint32_t size = 0;
  };

  Outbox() = default;
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // The sums that it belongs to, besides the process's: of its app.
  void share(OutboxTally* all, OutboxTally* app) {
    all_ = all;
    app_ = app;
  }

  bool empty() const { return bytes_ == 0; }
  std::size_t bytes() const { return bytes_; }
  std::size_t control_bytes() const { return control_bytes_; }
  bool below_low_water() const { return bytes_ < kLowWater; }
  bool overflowed() const { return overflowed_; }

  // Each: false where the connection has to be closed with 4009.
  bool put_control(Piece piece);
  bool put_event(Overflow overflow, std::uint64_t topic, std::string_view type, Piece piece);
  // The rest of a frame that the socket took the beginning of. Only where nothing waits.
  void put_begun(Piece piece, bool control = false);

  // The oldest pieces, for a write; `pieces` is filled with up to `room`.
  std::size_t peek(std::string_view* pieces, std::size_t room) const;
  // So many bytes of them were sent. What was begun can't give way any more.
  void sent(std::size_t bytes);
  // Whole frames, at most so many bytes but at least one where any waits, each handed to `take`.
  template <typename Take>
  std::size_t take(std::size_t bytes_max, Take take) {
    std::size_t size = 0;
    std::size_t count = 0;
    while (const Waiting* next = oldest()) {
      if (count > 0 && size + next->piece.size > bytes_max) break;
      size += next->piece.size;
      ++count;
      take(next->piece.run->view(next->piece.at, next->piece.size));
      remove_oldest();
    }
    let_go();
    return count;
  }
  void clear();
  // The same, but for the rest of a frame that was begun: what follows must be a frame again.
  void clear_but_begun();

 private:
  enum class Sort : std::uint8_t { gone, control, queued, conflated, droppable };
  struct Waiting {
    Piece piece;
    std::uint64_t topic = 0;
    Sort sort = Sort::gone;
    std::string type;
  };
  struct Drops {
    Ring<std::uint64_t> places;
    std::size_t bytes = 0;
  };
  struct Slow {  // only where something that may give way waits
    std::unordered_map<std::string, std::uint64_t> newest;  // conflated: topic and type -> place
    std::unordered_map<std::uint64_t, Drops> drops;  // droppable: topic
  };

  static std::string key(std::uint64_t topic, std::string_view type);
  bool admits_event(std::size_t size);
  std::uint64_t add(Piece piece, Sort sort, std::uint64_t topic, std::string_view type);
  void remove(std::uint64_t place);
  const Waiting* oldest();
  void remove_oldest();
  void let_go();  // of memory, where nothing waits any more
  void compact();  // close the gaps that conflation has left
  void count(std::int64_t bytes);

  OutboxTally* all_ = nullptr;
  OutboxTally* app_ = nullptr;
  Ring<Waiting> waiting_;
  std::uint64_t first_place_ = 0;
  std::unique_ptr<Slow> slow_;
  std::size_t gaps_ = 0;  // in the ring
  std::size_t bytes_ = 0;
  std::size_t control_bytes_ = 0;
  std::size_t event_bytes_ = 0;  // queued and conflated
  bool overflowed_ = false;
  bool begun_ = false;  // the socket has the beginning of the oldest
};

}  // namespace polyglot
