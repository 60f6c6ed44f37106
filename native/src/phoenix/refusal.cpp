// See refusal.h.
#include "phoenix/refusal.h"

#include "phoenix/json_cursor.h"

namespace polyglot {

void append_refusal(std::string& out, const Refusal& refusal) {
  out += R"({"reason":)";
  append_json_string(out, refusal.reason);
  out += R"(,"message":)";
  append_json_string(out, refusal.message);
  if (!refusal.field.empty()) {
    out += R"(,"field":)";
    append_json_string(out, refusal.field);
  }
  if (!refusal.quota.empty()) {
    out += R"(,"quota":)";
    append_json_string(out, refusal.quota);
  }
  if (refusal.limit >= 0) {
    out += R"(,"limit":)";
    out += std::to_string(refusal.limit);
  }
  if (refusal.retry_after_ms >= 0) {
    out += R"(,"retry_after_ms":)";
    out += std::to_string(refusal.retry_after_ms);
  }
  out += '}';
}

std::string_view reason_of(std::string_view response) {
  std::string_view reason = "internal";
  JsonCursor cursor(response);
  if (cursor.peek() != '{') return reason;
  do {
    cursor.advance();
    std::string_view key;
    std::string_view value;
    bool escaped = false;
    if (cursor.peek() != '"' || !cursor.string(key, escaped) || cursor.peek() != ':') break;
    cursor.advance();
    if (!cursor.value(value, 1)) break;
    // Reasons are words of the contract, so there is nothing to decode; the last of repeated keys counts.
    if (key == R"("reason")" && value.size() > 2 && value.front() == '"') reason = value.substr(1, value.size() - 2);
  } while (cursor.peek() == ',');
  return reason;
}

}  // namespace polyglot
