// What a client says: the upgrade, then Phoenix 2.0.0 (or bare text), as payloads of frames.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stamp.h"
#include "target.h"

namespace polyglot::load {

inline constexpr std::uint64_t kJoinRef = 1;  // publishes count on from 2
inline constexpr std::string_view kHeartbeatRef = "hb";
inline constexpr std::string_view kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";  // the answer to our key (RFC 6455, 1.3)

class Wording {
 public:
  explicit Wording(const Target& target);

  // `token`: "" where none is needed. `room`: for the raw dialect.
  std::string upgrade(std::string_view token, std::uint32_t room) const;
  std::string join(std::string_view topic) const;
  static std::string heartbeat();
  // The view is valid until the next call.
  std::string_view publish(std::string_view topic, std::uint64_t ref, const Stamp& stamp);
  // Bytes between a stamp and the end of the text that it begins.
  std::size_t padding_bytes() const { return padding_; }

 private:
  const Target& target_;
  std::string before_;  // of the payload, before the stamp
  std::string after_;
  bool stamped_ = true;
  std::size_t padding_ = 0;
  std::string text_;
};

}  // namespace polyglot::load
