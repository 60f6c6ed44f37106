#include "wording.h"

namespace polyglot::load {
namespace {

constexpr std::string_view kPlaceholder = "$STAMP";

}  // namespace

Wording::Wording(const Target& target) : target_(target) {
  if (target.dialect == Dialect::raw) {
    padding_ = target.payload_bytes - kStampBytes;
    after_.assign(padding_, 'x');
  } else if (target.dialect == Dialect::polyglot) {
    padding_ = target.payload_bytes - kStampBytes - 2;  // quotes
    before_ = R"({"type":"message","data":")";
    after_ = std::string(padding_, 'x') + "\"}";
  } else if (const std::size_t at = target.payload.find(kPlaceholder); at != std::string::npos) {
    before_ = target.payload.substr(0, at);
    after_ = target.payload.substr(at + kPlaceholder.size());
  } else {
    stamped_ = false;
    after_ = target.payload;
  }
}

std::string Wording::upgrade(std::string_view token, std::uint32_t room) const {
  std::string request = "GET " + target_.request;
  const auto append = [&request](std::string_view name, std::string_view value) {
    request += request.find('?') == std::string::npos ? '?' : '&';
    request.append(name).append("=").append(value);
  };
  if (target_.dialect == Dialect::raw) append("room", std::to_string(room));
  if (!token.empty()) append("token", token);
  request.append(" HTTP/1.1\r\nHost: ").append(target_.host);
  request.append("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
  request.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  return request;
}

std::string Wording::join(std::string_view topic) const {
  std::string text = "[\"1\",\"1\",\"";
  return text.append(topic).append("\",\"phx_join\",").append(target_.join_payload).append("]");
}

std::string Wording::heartbeat() {
  std::string text = "[null,\"";
  return text.append(kHeartbeatRef).append("\",\"phoenix\",\"heartbeat\",{}]");
}

std::string_view Wording::publish(std::string_view topic, std::uint64_t ref, const Stamp& stamp) {
  text_.clear();
  if (target_.dialect != Dialect::raw) {
    text_.append("[\"1\",\"").append(std::to_string(ref)).append("\",\"").append(topic).append("\",\"");
    text_.append(target_.event).append("\",");
  }
  text_.append(before_);
  if (stamped_) {
    const std::size_t at = text_.size();
    text_.append(kStampBytes, '0');
    write_stamp(text_.data() + at, stamp);
  }
  text_.append(after_);
  if (target_.dialect != Dialect::raw) text_ += ']';
  return text_;
}

}  // namespace polyglot::load
