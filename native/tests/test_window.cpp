// The window and the snapshot against plain models: polyglotd/channels/window.py and snapshot.py.
#include <deque>
#include <map>
#include <string>

#include "check.h"
#include "core/snapshot.h"
#include "core/window.h"
#include "dice.h"

namespace {

using namespace polyglot;

KeptEvent event(std::uint64_t seq, std::int64_t ts_us, std::string_view type, std::size_t data_bytes) {
  EnvelopeNames names;
  names.set("app", "room:1");
  std::string out = "#";
  const std::string data = "\"" + std::string(data_bytes, 'x') + "\"";
  KeptEvent kept =
      append_kept_envelope(out, names, "evt", type, data, seq, "\"u\\n\"", ts_us, "2025-06-15T15:06:40.392056Z");
  kept.run = RunRef::of(out);
  return kept;
}

struct Model {
  struct Held {
    std::uint64_t seq;
    std::int64_t ts_us;
    std::size_t size;
  };
  std::deque<Held> held;
  std::uint64_t last = 0;
  std::uint64_t floor = 1;
  std::int64_t events = 0, us = 0;

  std::uint64_t first() const { return last + 1 - held.size(); }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Held& one : held) sum += one.size;
    return sum;
  }
  void fit() {
    while (!held.empty() && (held.size() > static_cast<std::size_t>(events) || bytes() > Window::kBytesMax)) {
      held.pop_front();
    }
  }
  void expire(std::int64_t now_us) {
    while (!held.empty() && held.front().ts_us < now_us - us) {
      held.pop_front();
      floor = first();
    }
  }
  std::uint64_t oldest(bool elsewhere) const {
    if (!elsewhere) return first();
    const auto reach = static_cast<std::uint64_t>(events);
    return std::max(floor, last + 1 > reach ? last + 1 - reach : 0);
  }
  // The seqs of `page` of the reference.
  std::pair<std::deque<std::uint64_t>, bool> page(std::optional<std::uint64_t> after,
                                                  std::optional<std::uint64_t> before, std::size_t limit,
                                                  std::size_t bytes_max, std::uint64_t oldest_) const {
    std::deque<std::uint64_t> seqs;
    std::size_t size = 0;
    bool more = false;
    const auto wanted = [&](const Held& one) { return (!before || one.seq < *before) && (!after || one.seq > *after); };
    const auto take = [&](const Held& one) {
      if (more || !wanted(one)) return;
      size += one.size;
      if (seqs.size() == limit || (!seqs.empty() && size > bytes_max)) {
        more = true;
      } else if (after) {
        seqs.push_back(one.seq);
      } else {
        seqs.push_front(one.seq);
      }
    };
    if (after) {
      for (const Held& one : held) take(one);
      return {seqs, more};
    }
    for (auto at = held.rbegin(); at != held.rend(); ++at) take(*at);
    std::uint64_t start = !seqs.empty() ? seqs.front()
                          : before      ? std::min(std::max(*before, first()), last + 1)
                                        : last + 1;
    const std::uint64_t top = before ? std::min(*before, last + 1) : last + 1;
    return {seqs, std::min(start, top) > std::max<std::uint64_t>(1, oldest_)};
  }
};

void compare(std::uint64_t seed) {
  check::Dice dice(seed);
  Window window;
  Model model;
  const auto bounds = [&] {
    model.events = static_cast<std::int64_t>(dice.below(dice.one_in(3) ? 400 : 12));
    return static_cast<std::int64_t>(dice.below(40));
  };
  model.last = dice.below(5);
  model.us = bounds() * 1'000'000;
  window.begin(model.last, model.events, model.us / 1'000'000);
  std::int64_t now_us = 1'000'000'000;
  for (int step = 0; step < 300; ++step) {
    now_us += static_cast<std::int64_t>(dice.below(3'000'000));
    switch (dice.below(12)) {
      case 0:
        window.expire(now_us);
        model.expire(now_us);
        break;
      case 1: {
        const std::int64_t history_s = bounds();
        if (history_s * 1'000'000 > model.us) model.floor = 1;
        model.us = history_s * 1'000'000;
        window.rebound(model.events, history_s);
        model.fit();
        break;
      }
      case 2:
        if (!dice.one_in(5)) break;
        model.held.clear();
        model.last = dice.below(3);
        model.floor = 1;
        window.clear(model.last);
        break;
      case 3: {
        if (model.held.empty()) break;
        const std::uint64_t seq = model.first() + dice.below(model.held.size());
        Model::Held& one = model.held[seq - model.first()];
        const KeptEvent stone = event(seq, one.ts_us, "erased", dice.below(200));
        one.size = stone.size;
        model.fit();
        window.replace(seq, stone);
        break;
      }
      default: {
        const std::size_t size = dice.one_in(30) ? 400'000 : dice.below(100);
        const KeptEvent next = event(++model.last, now_us, "t", size);
        model.held.push_back({model.last, now_us, next.size});
        model.fit();
        window.append(next);
      }
    }
    CHECK_EQ(window.first(), model.first());
    CHECK_EQ(window.last(), model.last);
    CHECK_EQ(window.size(), model.held.size());
    CHECK_EQ(window.bytes(), model.bytes());
    for (const auto& one : model.held) CHECK_EQ(window.at(one.seq).seq(), one.seq);
    const bool elsewhere = dice.one_in(2);
    CHECK_EQ(window.oldest(elsewhere), model.oldest(elsewhere));
    const std::uint64_t after = dice.below(model.last + 3);
    CHECK_EQ(window.covers(after), model.first() <= after + 1);
    const std::uint64_t before = dice.below(model.last + 3);
    const std::size_t limit = dice.below(8);
    const std::size_t bytes_max = dice.below(1000);
    const auto same = [&](const Window::Page& page, const auto& expected) {
      CHECK_EQ(page.end - page.first, expected.first.size());
      if (!expected.first.empty()) CHECK_EQ(page.first, expected.first.front());
      CHECK_EQ(page.more, expected.second);
    };
    same(window.after(after, before, limit, bytes_max), model.page(after, before, limit, bytes_max, 0));
    const std::uint64_t oldest = window.oldest(elsewhere);
    same(window.newest(before, limit, bytes_max, oldest), model.page({}, before, limit, bytes_max, oldest));
    same(window.newest({}, limit, bytes_max, oldest), model.page({}, {}, limit, bytes_max, oldest));
  }
}

TEST("a window holds and pages as the plain list does") {
  for (std::uint64_t seed = 1; seed <= check::seeds(60) && check::failures() == 0; ++seed) compare(seed);
}

TEST("an event larger than a window's bytes is not held, nor what is older") {
  Window window;
  window.begin(0, 10, 60);
  window.append(event(1, 1, "t", 10));
  window.append(event(2, 2, "t", Window::kBytesMax));
  CHECK_EQ(window.first(), 3u);
  CHECK_EQ(window.last(), 2u);
  CHECK_EQ(window.bytes(), 0u);
  CHECK_EQ(window.oldest(true), 1u);
}

TEST("a kept event gives its parts back") {
  std::string scratch;
  const KeptEvent kept = event(42, 7, "price.update", 3);
  CHECK_EQ(kept.id(), "evt");
  CHECK_EQ(kept.type(), "price.update");
  CHECK_EQ(kept.data(), "\"xxx\"");
  CHECK_EQ(kept.seq(), 42u);
  CHECK_EQ(kept.user_id(scratch), "u\n");
}

TEST("a snapshot is the newest of each type, the longest silent goes") {
  for (std::uint64_t seed = 1; seed <= check::seeds(20); ++seed) {
    check::Dice dice(seed);
    Snapshot snapshot;
    std::size_t types_max = 4;
    snapshot.rebound(types_max);
    std::map<std::uint64_t, std::string> model;
    const auto fit = [&] {
      while (model.size() > types_max) model.erase(model.begin());
    };
    for (std::uint64_t seq = 1; seq < 100; ++seq) {
      const std::string type(1, static_cast<char>('a' + dice.below(8)));
      std::erase_if(model, [&](const auto& entry) { return entry.second == type; });
      model[seq] = type;
      fit();
      snapshot.put(seq, event(seq, 1, type, dice.below(30)));
      if (dice.one_in(10)) {
        types_max = dice.below(7);
        snapshot.rebound(types_max);
        fit();
      }
      if (dice.one_in(5)) {
        const std::uint64_t gone = dice.below(seq + 2);
        snapshot.remove(gone);
        model.erase(gone);
      }
      if (dice.one_in(40)) {
        snapshot.clear();
        model.clear();
      }
      CHECK_EQ(snapshot.events().size(), model.size());
      auto expected = model.begin();
      for (const auto& [held, kept] : snapshot.events()) {
        CHECK_EQ(held, expected->first);
        CHECK_EQ(kept.type(), expected->second);
        ++expected;
      }
    }
  }
}

}  // namespace
