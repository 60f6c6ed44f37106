// Refusals as answers, and answers back to their reason.
#include <string>

#include "check.h"
#include "phoenix/refusal.h"

namespace {

using namespace polyglot;

std::string answer(const Refusal& refusal) {
  std::string out;
  append_refusal(out, refusal);
  return out;
}

TEST("a refusal says what is said of it, and no more") {
  CHECK_EQ(answer({.reason = "forbidden", .message = "no \"word\""}),
           R"({"reason":"forbidden","message":"no \"word\""})");
  CHECK_EQ(answer({.reason = "invalid", .message = "m", .field = "type"}),
           R"({"reason":"invalid","message":"m","field":"type"})");
  CHECK_EQ(answer({.reason = "payload_too_large", .message = "m", .limit = 0}),
           R"({"reason":"payload_too_large","message":"m","limit":0})");
  CHECK_EQ(answer({.reason = "rate_limited", .message = "m", .retry_after_ms = 17}),
           R"({"reason":"rate_limited","message":"m","retry_after_ms":17})");
}

TEST("the reason of an answer is found, and none is `internal`") {
  const std::string limited = answer({.reason = "rate_limited", .message = "reason", .retry_after_ms = 17});
  CHECK_EQ(reason_of(limited), "rate_limited");
  CHECK_EQ(reason_of(R"({"message":{"reason":"x"},"reason":"not_found"})"), "not_found");
  CHECK_EQ(reason_of(R"({"message":"reason"})"), "internal");
  CHECK_EQ(reason_of("{}"), "internal");
}

TEST("an answer that is no object has the reason `internal`") {
  for (const char* response :
       {"", "null", "[]", "{", R"({"reason")", R"({"reason":)", R"({"reason":")", R"({"reason":1})"}) {
    CHECK_EQ(reason_of(response), "internal");
  }
}

}  // namespace
