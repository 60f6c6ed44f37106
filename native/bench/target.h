// What is put under load, and how it wants to be spoken to: plg_load_target, copied and checked.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "polyglot_load.h"

namespace polyglot::load {

enum class Dialect : std::uint8_t { polyglot, phoenix, raw };

// Ends a step; the C interface turns it into its code and words.
struct Failure : std::runtime_error {
  Failure(plg_load_error code_, const std::string& words) : std::runtime_error(words), code(code_) {}
  plg_load_error code;
};

struct Target {
  explicit Target(const plg_load_target& given);  // throws Failure

  Dialect dialect;
  sockaddr_storage address{};
  socklen_t address_size = 0;
  bool spread_sources;
  std::string host;
  std::string request;
  std::string token;
  std::string secret;
  std::string app_id;
  std::string claims;
  std::string topic_prefix;
  std::string join_payload;
  std::string event;
  std::string broadcast_event;
  std::string payload;
  std::size_t payload_bytes;
  std::vector<std::int32_t> processes;
};

}  // namespace polyglot::load
