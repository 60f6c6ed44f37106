// What a server said to one member: told apart with as few looks at the bytes as it takes, since a generator on one core
// reads millions a second.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stamp.h"
#include "target.h"

namespace polyglot::load {

struct Incoming {
  enum class Kind : std::uint8_t {
    delivery,  // a broadcast event of the member's channel
    reply,  // to the push of `ref`
    heartbeat,  // the answer to one
    ended,  // phx_close or phx_error of the channel
    foreign,  // an event of a channel that was not joined, or no message at all
    other,  // presence and notices
  };
  Kind kind = Kind::other;
  bool ok = false;  // reply
  bool stamped = false;  // delivery: `stamp` is filled
  bool has_seq = false;  // delivery and reply: `seq` is filled
  std::uint64_t ref = 0;
  std::uint64_t seq = 0;
  Stamp stamp;
  std::string_view reason{};  // of an error reply, or the event of `ended`
};

// The beginning of every broadcast event in a channel.
std::string broadcast_prefix(const Target& target, std::string_view topic);

class IncomingReader {
 public:
  // `padding`: bytes between a stamp and the quote that ends its text.
  IncomingReader(const Target& target, std::size_t padding) : target_(target), padding_(padding) {}

  Incoming read(std::string_view frame, std::string_view topic, std::string_view prefix) {
    if (target_.dialect == Dialect::raw || (!prefix.empty() && frame.starts_with(prefix))) [[likely]] {
      return read_delivery(frame);
    }
    return read_message(frame, topic);
  }

 private:
  Incoming read_delivery(std::string_view frame);
  Incoming read_message(std::string_view frame, std::string_view topic) const;

  const Target& target_;
  std::size_t padding_;
  StampFinder finder_;
};

}  // namespace polyglot::load
