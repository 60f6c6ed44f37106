// A connection's first bytes: whose it is, and the verdict on its handshake. What must hold:
//   - a head ends at the first empty line, and nothing that follows it changes a verdict;
//   - an upgrade that is ours begins with GET;
//   - what is accepted has clean names and values in UTF-8, and written again it is read as it was;
//   - what is refused is answered with a whole response of an error, which holds nothing of the request.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/ascii.h"
#include "phoenix/json_text.h"
#include "require.h"
#include "websocket/handshake.h"
#include "websocket/query.h"

namespace {

using namespace polyglot;

struct Verdict {
  bool accepted = false;
  Upgrade upgrade;
  std::string answer;

  explicit Verdict(std::string_view head) { accepted = read_upgrade(head, upgrade, answer); }

  bool operator==(const Verdict& other) const {
    return accepted == other.accepted && answer == other.answer && upgrade.query == other.upgrade.query &&
           upgrade.headers == other.upgrade.headers && upgrade.serializer == other.upgrade.serializer &&
           upgrade.key == other.upgrade.key && upgrade.subprotocol == other.upgrade.subprotocol;
  }
};

std::string as_latin1(std::string_view utf8) {
  std::string out;
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    const unsigned first = static_cast<unsigned char>(utf8[i]);
    out += first < 0x80 ? utf8[i] : static_cast<char>(first << 6 | (static_cast<unsigned char>(utf8[++i]) & 0x3fu));
  }
  return out;
}

void check_ends(std::string_view data) {
  const std::size_t size = head_size(data);
  if (size == 0) {
    REQUIRE(data.find("\r\n\r\n") == std::string_view::npos && data.find("\n\n") == std::string_view::npos);
    return;
  }
  REQUIRE(size <= data.size() && data[size - 1] == '\n');
  REQUIRE(head_size(data.substr(0, size - 1)) == 0);
  REQUIRE(head_size(data.substr(0, size)) == size);
  REQUIRE(Verdict(data.substr(0, size)) == Verdict(data));
}

void check_accepted(const Upgrade& upgrade) {
  std::string again = "GET /?" + upgrade.query + " HTTP/9.9\r\n";  // a version that needs no host
  for (const auto& [name, value] : upgrade.headers) {
    REQUIRE(!name.empty() && std::all_of(name.begin(), name.end(), is_token_char) && to_lower(name) == name);
    REQUIRE(is_utf8(value) && value.find_first_of(std::string_view("\0\r\n", 3)) == std::string::npos);
    again += name + ": " + as_latin1(value) + "\r\n";
  }
  Verdict second(again + "\r\n");
  REQUIRE(second.accepted && second.upgrade.headers == upgrade.headers && second.upgrade.query == upgrade.query);
  REQUIRE(second.upgrade.serializer == upgrade.serializer && second.upgrade.key == upgrade.key);
  const std::string answer = accept_answer(upgrade.key, upgrade.subprotocol);
  REQUIRE(answer.starts_with("HTTP/1.1 101 ") && head_size(answer) == answer.size());
  const std::string vsn = last_value(upgrade.query, "vsn").value_or("1.0.0");
  REQUIRE(vsn == (upgrade.serializer == Serializer::v1 ? "1.0.0" : "2.0.0"));
}

void check_refused(std::string_view answer) {
  REQUIRE(answer.starts_with("HTTP/1.1 4"));
  const std::size_t size = head_size(answer);
  const std::string length = "\r\ncontent-length: " + std::to_string(answer.size() - size) + "\r\n";
  REQUIRE(size > 0 && answer.find(length) != std::string_view::npos);
  REQUIRE(check_json(answer.substr(size)) == JsonError::none);
  REQUIRE(answer.size() < 500);  // its words are ours
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto copy = std::make_unique<char[]>(size);  // of exactly that size: sanitizers see a step beyond
  std::copy_n(bytes, size, copy.get());
  const std::string_view data(copy.get(), size);
  check_ends(data);
  if (owner_of(data) == Owner::plane) REQUIRE(data.starts_with("GET ") && may_be_http(data));
  const Verdict verdict(data);
  if (verdict.accepted) {
    check_accepted(verdict.upgrade);
  } else {
    check_refused(verdict.answer);
  }
  return 0;
}
