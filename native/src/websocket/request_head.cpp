// The first look at a connection (handshake.h): a head is only looked at, as the connection may be handed on with
// nothing read. What is doubtful is not ours: the HTTP server that gets it answers in its own words.
#include <algorithm>

#include "base/ascii.h"
#include "websocket/handshake.h"

namespace polyglot {
namespace {

constexpr std::string_view kSocketPath = "/socket/websocket";
constexpr std::string_view kGet = "GET ";
constexpr std::string_view kSpaces = " \t\n\r\v\f";

// Cuts off what comes before the first `mark`; `text` is what follows it.
std::string_view take_until(std::string_view& text, char mark) {
  const std::size_t end = text.find(mark);
  const std::string_view taken = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return taken;
}

bool asks_for_websocket(std::string_view line) {
  constexpr std::string_view kWebsocket = "websocket";
  if (!equals_ignoring_case(take_until(line, ':'), "upgrade")) return false;
  return std::search(line.begin(), line.end(), kWebsocket.begin(), kWebsocket.end(),
                     [](char x, char y) { return to_lower(x) == y; }) != line.end();
}

}  // namespace

std::size_t head_size(std::string_view data) {
  for (std::size_t at = data.find('\n'); at != std::string_view::npos; at = data.find('\n', at + 1)) {
    const std::string_view rest = data.substr(at + 1);
    if (rest.starts_with('\n')) return at + 2;
    if (rest.starts_with("\r\n")) return at + 3;
  }
  return 0;
}

bool may_be_http(std::string_view start) {
  const std::size_t first = start.find_first_not_of("\r\n");
  if (first == std::string_view::npos) return true;
  start.remove_prefix(first);
  const std::size_t space = start.find(' ');
  const std::string_view method = start.substr(0, space);
  return std::all_of(method.begin(), method.end(), is_token_char) && space != 0;
}

Owner owner_of(std::string_view head) {
  std::string_view line = take_until(head, '\n');
  if (!line.starts_with(kGet)) return Owner::gateway;
  line.remove_suffix(line.size() - 1 - line.find_last_not_of(kSpaces));
  if (!line.starts_with(kGet)) return Owner::gateway;  // a method alone
  line.remove_prefix(kGet.size());
  std::string_view target = take_until(line, ' ');
  if (take_until(target, '?') != kSocketPath) return Owner::gateway;
  while (!head.empty()) {
    if (asks_for_websocket(take_until(head, '\n'))) return Owner::plane;
  }
  return Owner::gateway;
}

}  // namespace polyglot
