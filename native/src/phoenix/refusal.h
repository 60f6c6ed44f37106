// A refusal as data, and as the `response` of an error reply: the same bytes as `Refusal.as_reply` of
// polyglotd/model/errors.py through msgspec.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace polyglot {

struct Refusal {
  std::string_view reason;  // of the contract: "invalid", "forbidden", "rate_limited", ...; a literal
  std::string message;
  std::string_view field{};          // "invalid": which; a literal; empty: not said
  std::string_view quota{};          // "quota_exceeded": which; a literal; empty: not said
  std::int64_t limit = -1;           // "payload_too_large"; -1: not said
  std::int64_t retry_after_ms = -1;  // "rate_limited", "unavailable"; -1: not said
};

void append_refusal(std::string& out, const Refusal& refusal);

// The `reason` in the gateway's error reply; "internal" where it has none. A view into `response` or a literal.
std::string_view reason_of(std::string_view response);

}  // namespace polyglot
