// Ids that were given, against a plain list: polyglotd/channels/dedupe.py.
#include <list>
#include <string>

#include "check.h"
#include "core/dedupe.h"
#include "dice.h"

namespace {

using polyglot::Dedupe;

struct Model {
  struct Known {
    std::string user, id;
    std::uint64_t seq;
    std::int64_t ts_us;
  };
  std::list<Known> known;  // oldest first

  const Known* find(const std::string& user, const std::string& id, std::int64_t now_us) const {
    for (const Known& one : known) {
      if (one.user == user && one.id == id) return now_us - one.ts_us < Dedupe::kWindowUs ? &one : nullptr;
    }
    return nullptr;
  }
  void expire(std::int64_t now_us) {
    while (!known.empty() && now_us - known.front().ts_us >= Dedupe::kWindowUs) known.pop_front();
  }
  void remember(const std::string& user, const std::string& id, std::uint64_t seq, std::int64_t ts_us) {
    forget(user, id, 0);
    known.push_back({user, id, seq, ts_us});
    if (known.size() > Dedupe::kIdsMax) known.pop_front();
    expire(ts_us);
  }
  void forget(const std::string& user, const std::string& id, std::uint64_t seq) {
    known.remove_if([&](const Known& one) { return one.user == user && one.id == id && (seq == 0 || one.seq == seq); });
  }
};

TEST("ids are known as the plain list knows them") {
  for (std::uint64_t seed = 1; seed <= check::seeds(40) && check::failures() == 0; ++seed) {
    check::Dice dice(seed);
    Dedupe dedupe;
    Model model;
    std::int64_t now_us = 1'000'000'000'000;
    for (std::uint64_t seq = 1; seq < 400; ++seq) {
      now_us += static_cast<std::int64_t>(dice.below(dice.one_in(20) ? 200'000'000 : 5'000'000));
      const std::string user = dice.one_in(3) ? "" : std::string(1, static_cast<char>('a' + dice.below(3)));
      const std::string id = "id" + std::to_string(dice.below(40));
      const auto* known = dedupe.find(user, id, now_us);
      const auto* expected = model.find(user, id, now_us);
      CHECK_EQ(known != nullptr, expected != nullptr);
      if (known != nullptr && expected != nullptr) {
        CHECK_EQ(known->seq, expected->seq);
        CHECK_EQ(known->ts_us, expected->ts_us);
      }
      if (known == nullptr) {
        dedupe.remember(user, id, seq, now_us);
        model.remember(user, id, seq, now_us);
        if (dice.one_in(6)) {  // the log refused it
          dedupe.forget(user, id, seq);
          model.forget(user, id, seq);
        }
      }
      if (dice.one_in(10)) {
        dedupe.expire(now_us);
        model.expire(now_us);
      }
      CHECK_EQ(dedupe.empty(), model.known.empty());
    }
  }
}

TEST("the newest ten thousand ids are known") {
  Dedupe dedupe;
  for (std::uint64_t seq = 1; seq <= Dedupe::kIdsMax + 5; ++seq) dedupe.remember("u", std::to_string(seq), seq, 1);
  CHECK(dedupe.find("u", "5", 1) == nullptr);
  CHECK(dedupe.find("u", "6", 1) != nullptr);
  CHECK(dedupe.find("", "6", 1) == nullptr);
}

TEST("an id that is entered again is as young as its last entry") {
  Dedupe dedupe;
  dedupe.remember("u", "a", 1, 0);
  dedupe.remember("u", "a", 2, Dedupe::kWindowUs + 5);
  dedupe.forget("u", "a", 1);  // too late: it is another event's now
  CHECK_EQ(dedupe.find("u", "a", Dedupe::kWindowUs + 6)->seq, 2u);
  dedupe.expire(2 * Dedupe::kWindowUs + 5);
  CHECK(dedupe.empty());
}

}  // namespace
