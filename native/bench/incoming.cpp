#include "incoming.h"

#include <charconv>

namespace polyglot::load {
namespace {

// The digits at `at`; false where there are none.
bool read_number(std::string_view text, std::size_t at, std::uint64_t& value) {
  const char* begin = text.data() + at;
  const char* end = text.data() + text.size();
  return std::from_chars(begin, end, value).ec == std::errc{};
}

// The first `"name":` number.
bool find_number(std::string_view text, std::string_view name, std::uint64_t& value) {
  const std::size_t at = text.find(name);
  return at != std::string_view::npos && read_number(text, at + name.size(), value);
}

// Takes one of the four simple values before the payload, and the comma after it. Texts with escapes are none of ours.
bool take_token(std::string_view& text, std::string_view& token) {
  if (text.starts_with('"')) {
    const std::size_t end = text.find('"', 1);
    if (end == std::string_view::npos) return false;
    token = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
  } else {
    const std::size_t end = text.find(',');
    if (end == std::string_view::npos) return false;
    token = text.substr(0, end);
    text.remove_prefix(end);
  }
  if (!text.starts_with(',')) return false;
  text.remove_prefix(1);
  return true;
}

std::string_view find_text(std::string_view text, std::string_view name) {
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos) return "no reason given";
  const std::string_view rest = text.substr(at + name.size());
  return rest.substr(0, rest.find('"'));
}

}  // namespace

std::string broadcast_prefix(const Target& target, std::string_view topic) {
  if (target.dialect == Dialect::raw || target.broadcast_event.empty()) return {};
  std::string prefix = "[null,null,\"";
  return prefix.append(topic).append("\",\"").append(target.broadcast_event).append("\",");
}

Incoming IncomingReader::read_delivery(std::string_view frame) {
  Incoming incoming;
  incoming.kind = Incoming::Kind::delivery;
  const std::size_t at = finder_.find(frame, incoming.stamp);
  incoming.stamped = at != std::string_view::npos;
  if (target_.dialect != Dialect::polyglot) return incoming;
  constexpr std::string_view kSeq = "\",\"seq\":";
  if (const std::size_t end = at + kStampBytes + padding_;
      incoming.stamped && end < frame.size() && frame.substr(end).starts_with(kSeq)) [[likely]] {
    incoming.has_seq = read_number(frame, end + kSeq.size(), incoming.seq);
  } else {  // somebody else's event
    incoming.has_seq = find_number(frame, kSeq.substr(2), incoming.seq);
  }
  return incoming;
}

Incoming IncomingReader::read_message(std::string_view frame, std::string_view topic) const {
  Incoming incoming;
  std::string_view join_ref, ref, of_topic, event;
  std::string_view rest = frame;
  if (rest.starts_with('[')) rest.remove_prefix(1);
  if (!take_token(rest, join_ref) || !take_token(rest, ref) || !take_token(rest, of_topic) ||
      !take_token(rest, event)) {
    incoming.kind = Incoming::Kind::foreign;
  } else if (event == "phx_reply" && of_topic == "phoenix") {
    incoming.kind = Incoming::Kind::heartbeat;
  } else if (of_topic != topic) {
    incoming.kind = Incoming::Kind::foreign;
  } else if (event == "phx_reply") {
    incoming.kind = Incoming::Kind::reply;
    incoming.ok = rest.find(R"("status":"ok")") != std::string_view::npos;
    if (!read_number(ref, 0, incoming.ref)) incoming.kind = Incoming::Kind::foreign;
    if (incoming.ok) {
      incoming.has_seq = find_number(rest, R"("seq":)", incoming.seq);
    } else {
      incoming.reason = find_text(rest, R"("reason":")");
    }
  } else if (event == "phx_close" || event == "phx_error") {
    incoming.kind = Incoming::Kind::ended;
    incoming.reason = event;
  }
  return incoming;
}

}  // namespace polyglot::load
