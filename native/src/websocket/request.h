// The head of an HTTP/1.1 request (RFC 9112), parsed as strictly as h11 does, whose verdicts the reference has. Pure;
// called by handshake.cpp for heads of upgrades alone: everything else is the HTTP server's.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace polyglot {

struct Request {
  std::string method;
  std::string target;   // visible ASCII
  std::string version;  // "1.1"
  // Names in lower case, order kept. Values without the whitespace around them, folded lines joined by a space; they
  // may hold any byte but NUL, CR, LF, VT and FF.
  std::vector<std::pair<std::string, std::string>> headers;

  // How often a header is there; `value` is the last one's.
  std::size_t count(std::string_view name, std::string_view* value = nullptr) const;
};

// False: not a request of HTTP/1.1.
bool parse_request(std::string_view head, Request& request);

}  // namespace polyglot
