// Port 4000's first look at a connection: whose is it, and is its handshake sound. Without I/O; answers are the same
// bytes as those of polyglotd/plane/asgi/request_head.py and handshake.py, which are the reference.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phoenix/message.h"

namespace polyglot {

enum class Owner { plane, gateway };

// Bytes up to and with the empty line; 0 where it has not come yet.
std::size_t head_size(std::string_view data);
bool may_be_http(std::string_view start);
Owner owner_of(std::string_view head);

struct Upgrade {
  std::string query;                                        // may hold a token: never logged
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, order kept, values latin-1 as UTF-8
  Serializer serializer = Serializer::v2;
  std::string key;
  bool subprotocol = false;  // `phoenix` was offered and is to be answered
};

// True: `upgrade` is filled. False: `answer` is the whole HTTP response that refuses it.
bool read_upgrade(std::string_view head, Upgrade& upgrade, std::string& answer);
// The 101 after which frames follow.
std::string accept_answer(std::string_view key, bool subprotocol);
// A whole response that ends the connection.
std::string http_answer(int status, const std::vector<std::pair<std::string, std::string>>& headers,
                        std::string_view body);
// The same with problem details (RFC 9457). `code` is a reason of the contract; `field`, `retry_after_ms` where said.
std::string problem_answer(int status, std::string_view code, std::string_view detail, std::string_view field = {},
                           long retry_after_ms = -1,
                           const std::vector<std::pair<std::string, std::string>>& headers = {});

}  // namespace polyglot
