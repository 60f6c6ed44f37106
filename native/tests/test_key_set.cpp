// Keys of an object, repeated or not: also where somebody has chosen them so that looking them up goes wrong.
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "phoenix/key_set.h"

namespace {

using namespace polyglot;

// Distinct keys whose hashes all fall on the same slot of the set's table.
std::vector<std::string> meeting_keys(std::size_t count) {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; keys.size() < count; ++i) {
    std::string key = "k" + std::to_string(i);
    if ((std::hash<std::string_view>()(key) & 1023) == 0) keys.push_back(std::move(key));
  }
  return keys;
}

bool any_repeated(const std::vector<std::string>& keys) {
  KeySet set;
  set.clear(0);
  for (const std::string& key : keys) set.add(key);
  return set.any_repeated();
}

TEST("no key and one key are not repeated") {
  CHECK(!any_repeated({}));
  CHECK(!any_repeated({""}));
}

TEST("a repeated key is found wherever it is") {
  for (std::size_t count : {2u, 3u, 10u, 1000u}) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < count; ++i) keys.push_back(std::to_string(i));
    CHECK(!any_repeated(keys));
    for (const std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
      std::vector<std::string> twice = keys;
      twice.push_back(keys[at]);
      CHECK(any_repeated(twice));
    }
  }
}

TEST("keys whose hashes meet are told apart, and repeated ones found") {
  std::vector<std::string> keys = meeting_keys(400);
  CHECK(!any_repeated(keys));
  keys.push_back(keys[1]);
  CHECK(any_repeated(keys));
}

TEST("decoded keys stay where they are while others come") {
  const std::string token = R"("\u0061")";
  KeySet set;
  set.clear(token.size() * 100);
  std::vector<std::string_view> views;
  for (int i = 0; i < 100; ++i) views.push_back(set.text_of(token, true));
  for (const std::string_view view : views) CHECK_EQ(view, "a");
  CHECK_EQ(set.text_of(R"("plain")", false), "plain");
}

TEST("a cleared set has forgotten its keys") {
  KeySet set;
  set.clear(0);
  set.add("a");
  set.clear(0);
  set.add("a");
  CHECK(!set.any_repeated());
}

}  // namespace
