// The outbox against a model that is a plain list: the rules of polyglotd/channels/outbox.py and, beside them, what the
// socket took half of.
#include <algorithm>
#include <list>
#include <string>

#include "check.h"
#include "core/outbox.h"
#include "dice.h"

namespace {

using namespace polyglot;

Outbox::Piece piece(const std::string& bytes) {
  return {RunRef::of("##" + bytes + "#"), 2, static_cast<std::uint32_t>(bytes.size())};
}

std::string waiting(const Outbox& outbox) {
  std::string_view pieces[512];
  std::string all;
  const std::size_t count = outbox.peek(pieces, 512);
  for (std::size_t at = 0; at < count; ++at) all += pieces[at];
  return all;
}

// As the reference is written: a list in the order of putting.
class Model {
 public:
  enum class Sort { control, queued, conflated, droppable };
  struct Frame {
    std::string bytes;
    Sort sort;
    std::uint64_t topic;
    std::string type;
  };

  bool put_control(const std::string& bytes) {
    const std::size_t before = sum({Sort::control});
    if (overflowed || (before > 0 && before + bytes.size() > Outbox::kControlBytesMax)) return !(overflowed = true);
    frames.push_back({bytes, Sort::control, 0, {}});
    return true;
  }
  bool put_event(Overflow overflow, std::uint64_t topic, const std::string& type, const std::string& bytes) {
    if (overflowed) return false;
    if (overflow == Overflow::drop) {
      while (count(topic) > 0 && (count(topic) >= Outbox::kDroppableFramesMax ||
                                  sum({Sort::droppable}, topic) + bytes.size() > Outbox::kDroppableBytesMax)) {
        frames.erase(find([&](const Frame& f) { return f.sort == Sort::droppable && f.topic == topic; }));
        ++dropped;
      }
      frames.push_back({bytes, Sort::droppable, topic, {}});
      return true;
    }
    if (overflow == Overflow::conflate) {
      const auto older =
          find([&](const Frame& f) { return f.sort == Sort::conflated && f.topic == topic && f.type == type; });
      if (older != frames.end()) {
        frames.erase(older);
        ++conflated;
      }
    }
    const std::size_t before = sum({Sort::queued, Sort::conflated});
    if (before > 0 && before + bytes.size() > Outbox::kQueuedBytesMax) return !(overflowed = true);
    frames.push_back({bytes, overflow == Overflow::queue ? Sort::queued : Sort::conflated, topic, type});
    return true;
  }
  void sent(std::size_t size) {
    while (size > 0) {
      Frame& first = frames.front();
      if (first.bytes.size() <= size) {
        size -= first.bytes.size();
        frames.pop_front();
        begun = false;
        continue;
      }
      first.bytes.erase(0, size);
      if (first.sort != Sort::control) first.sort = Sort::queued;
      begun = true;
      return;
    }
  }
  void clear_but_begun() {
    while (frames.size() > (begun ? 1u : 0u)) frames.pop_back();
    if (begun) frames.front().sort = Sort::queued;
    overflowed = false;
  }
  std::string text() const {
    std::string all;
    for (const Frame& frame : frames) all += frame.bytes;
    return all;
  }
  std::size_t sum(std::initializer_list<Sort> sorts, std::uint64_t topic = 0) const {
    std::size_t size = 0;
    for (const Frame& frame : frames) {
      if (std::find(sorts.begin(), sorts.end(), frame.sort) != sorts.end() && (topic == 0 || frame.topic == topic)) {
        size += frame.bytes.size();
      }
    }
    return size;
  }

  std::list<Frame> frames;
  bool overflowed = false;
  bool begun = false;
  std::uint64_t conflated = 0;
  std::uint64_t dropped = 0;

 private:
  template <typename Wanted>
  std::list<Frame>::iterator find(Wanted wanted) {
    return std::find_if(frames.begin(), frames.end(), wanted);
  }
  std::size_t count(std::uint64_t topic) const {
    return static_cast<std::size_t>(std::count_if(frames.begin(), frames.end(), [&](const Frame& frame) {
      return frame.sort == Sort::droppable && frame.topic == topic;
    }));
  }
};

std::string some_bytes(check::Dice& dice) {
  const std::size_t size = 1 + static_cast<std::size_t>(dice.one_in(6) ? dice.below(40'000) : dice.below(60));
  return std::string(size, static_cast<char>('a' + dice.below(26)));
}

void compare(std::uint64_t seed) {
  check::Dice dice(seed);
  OutboxTally all, app;
  Model model;
  {
    Outbox outbox;
    outbox.share(&all, &app);
    const std::uint64_t favourite = dice.below(4);
    for (int step = 0; step < 400; ++step) {
      const std::string bytes = some_bytes(dice);
      const std::uint64_t topic = 1 + dice.below(3);
      const std::string type(1, static_cast<char>('a' + dice.below(20)));
      switch (dice.one_in(2) ? favourite : dice.below(7)) {
        case 0:
          CHECK_EQ(outbox.put_control(piece(bytes)), model.put_control(bytes));
          break;
        case 1:
        case 2:
        case 3: {
          const auto overflow = static_cast<Overflow>(dice.below(3));
          CHECK_EQ(outbox.put_event(overflow, topic, type, piece(bytes)),
                   model.put_event(overflow, topic, type, bytes));
          break;
        }
        case 4: {
          const std::size_t size = dice.below(outbox.bytes() + 1);
          outbox.sent(size);
          model.sent(size);
          break;
        }
        case 5: {
          if (model.begun) break;  // who takes whole frames has no socket
          const std::size_t room = dice.below(5000);
          std::string taken;
          outbox.take(room, [&](std::string_view frame) { taken += frame; });
          const std::string text = model.text();
          CHECK(text.starts_with(taken) && taken.empty() == text.empty());
          CHECK(taken.size() <= std::max(room, model.frames.empty() ? 0 : model.frames.front().bytes.size()));
          model.sent(taken.size());
          CHECK(!model.begun);
          break;
        }
        default:
          if (!dice.one_in(6)) break;
          outbox.clear_but_begun();
          model.clear_but_begun();
      }
      CHECK_EQ(outbox.bytes(), model.text().size());
      CHECK_EQ(outbox.control_bytes(), model.sum({Model::Sort::control}));
      CHECK_EQ(outbox.overflowed(), model.overflowed);
      CHECK_EQ(outbox.empty(), model.frames.empty());
      if (model.frames.size() < 512) CHECK(waiting(outbox) == model.text());
      CHECK_EQ(all.queued_bytes.get(), outbox.bytes());
      CHECK_EQ(app.conflated.get(), model.conflated);
      CHECK_EQ(app.dropped.get(), model.dropped);
    }
  }
  CHECK_EQ(all.queued_bytes.get(), 0u);
  CHECK_EQ(app.queued_bytes.get(), 0u);
}

TEST("an outbox holds what the plain list holds, whatever is put and sent") {
  for (std::uint64_t seed = 1; seed <= check::seeds(60) && check::failures() == 0; ++seed) compare(seed);
}

TEST("a queue that would pass its bound overflows for good, and one frame may be larger") {
  Outbox outbox;
  CHECK(outbox.put_event(Overflow::queue, 1, "", piece(std::string(Outbox::kQueuedBytesMax + 1, 'x'))));
  CHECK(outbox.put_control(piece("r")));  // has a bound of its own
  CHECK(!outbox.put_event(Overflow::conflate, 2, "t", piece("y")));
  CHECK(!outbox.put_event(Overflow::drop, 3, "", piece("y")));
  CHECK(!outbox.put_control(piece("r")));
  outbox.clear();
  CHECK(outbox.put_event(Overflow::queue, 1, "", piece("y")));
}

TEST("a frame that was begun gives way to nothing") {
  Outbox outbox;
  outbox.put_event(Overflow::conflate, 1, "t", piece("older"));
  outbox.sent(2);
  outbox.put_event(Overflow::conflate, 1, "t", piece("newer"));
  CHECK_EQ(waiting(outbox), "dernewer");
  outbox.clear_but_begun();
  CHECK_EQ(waiting(outbox), "der");
  outbox.sent(3);
  outbox.put_begun(piece("reply"), true);
  CHECK_EQ(outbox.control_bytes(), 5u);
  outbox.put_control(piece("another"));
  outbox.clear_but_begun();
  CHECK_EQ(waiting(outbox), "reply");
  outbox.sent(5);
  outbox.put_event(Overflow::drop, 1, "", piece("x"));
  outbox.clear_but_begun();
  CHECK(outbox.empty());
}

}  // namespace
