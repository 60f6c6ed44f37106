// What reads and writes Phoenix's text, as a tool for tests/unit/native/test_text_against_reference.py.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "event/envelope.h"
#include "phoenix/content.h"
#include "phoenix/frames.h"
#include "phoenix/json_text.h"
#include "phoenix/message.h"
#include "phoenix/refusal.h"
#include "tool_fields.h"

namespace {

using namespace polyglot;
using tool::Fields;

Serializer serializer_of(const std::string& vsn) { return vsn == "1.0.0" ? Serializer::v1 : Serializer::v2; }

std::string built(const std::function<void(std::string&)>& append) {
  std::string out;
  append(out);
  return out;
}

// Views into a copy that has exactly the bytes of the text: a read beyond them is one that sanitizers see.
class Exact {
 public:
  explicit Exact(const std::string& text) : bytes_(text.begin(), text.end()) {}
  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::vector<char> bytes_;
};

Fields check(const Fields& in) {
  static const char* const kWords[] = {"none", "not UTF-8", "not JSON", "JSON nested too deeply"};
  return {kWords[static_cast<int>(check_json(Exact(in[1]).view()))]};
}

Fields decode(const Fields& in) {
  static Decoder decoder;
  const Exact frame(in[3]);
  Message message;
  Fault fault;
  const Serializer serializer = serializer_of(in[1]);
  const Decoded decoded = in[2] == "binary" ? decoder.decode_binary(serializer, frame.view(), message, fault)
                                            : decoder.decode_text(serializer, frame.view(), message, fault);
  if (decoded == Decoded::fault) return {"fault", std::to_string(fault.code), fault.reason};
  return {decoded == Decoded::message ? "message" : "payload_not_json",
          std::string(message.join_ref),
          std::string(message.ref),
          std::string(message.topic),
          std::string(message.event),
          std::string(message.payload)};
}

Fields content(const Fields& in) {
  static ContentReader reader;
  const Exact payload(in[1]);
  Content content;
  Refusal refusal;
  if (!reader.read(payload.view(), content, refusal)) {
    return {"refused", built([&](std::string& out) { append_refusal(out, refusal); })};
  }
  return {"content", std::string(content.type), std::string(content.data), std::string(content.id)};
}

Fields string(const Fields& in) {
  const Exact token(in[1]);
  std::string scratch;
  std::string_view text;
  if (!decode_string(token.view(), scratch, text)) return {};
  return {std::string(text)};
}

Fields json_string(const Fields& in) {
  const Exact text(in[1]);
  return {built([&](std::string& out) { append_json_string(out, text.view()); })};
}

Fields reply(const Fields& in) {
  return {built(
      [&](std::string& out) { append_reply(out, serializer_of(in[1]), in[2], in[3], in[4], in[5] == "ok", in[6]); })};
}

Fields push(const Fields& in) {
  return {built([&](std::string& out) { append_push(out, serializer_of(in[1]), in[2], in[3], in[4], in[5]); })};
}

Fields broadcast(const Fields& in) {
  return {built([&](std::string& out) { append_broadcast(out, serializer_of(in[1]), in[2], in[3], in[4]); })};
}

Fields end(const Fields& in) {
  return {built([&](std::string& out) { append_end(out, serializer_of(in[1]), in[2], in[3], in[4]); })};
}

Fields refusal(const Fields& in) {
  const Refusal refusal{.reason = in[1],
                        .message = in[2],
                        .field = in[3],
                        .limit = std::stoll(in[4]),
                        .retry_after_ms = std::stoll(in[5])};
  std::string out;
  append_refusal(out, refusal);
  return {out, std::string(reason_of(out))};
}

Fields reason(const Fields& in) { return {std::string(reason_of(Exact(in[1]).view()))}; }

Fields envelope(const Fields& in) {
  EventView event{.id = in[1],
                  .app_id = in[2],
                  .channel = in[3],
                  .epoch = in[4],
                  .seq = std::stoull(in[5]),
                  .type = in[6],
                  .data = in[7],
                  .user_id = in[8],
                  .ts_us = std::stoll(in[9])};
  return {built([&](std::string& out) { append_envelope(out, event); })};
}

Fields signal(const Fields& in) {
  return {built([&](std::string& out) { append_signal(out, in[1], in[2], in[3], in[4], in[5], std::stoll(in[6])); })};
}

Fields time(const Fields& in) {
  static TimeFormat format;
  return {built([&](std::string& out) { format.append(out, std::stoll(in[1])); })};
}

// As many ids of one instance as times are given.
Fields ids(const Fields& in) {
  EventIds ids;
  Fields out;
  for (std::size_t i = 1; i < in.size(); ++i) {
    out.push_back(built([&](std::string& id) { ids.append(id, std::stoll(in[i])); }));
  }
  return out;
}

}  // namespace

int main() {
  return tool::serve({{"check", check},
                      {"decode", decode},
                      {"content", content},
                      {"string", string},
                      {"json_string", json_string},
                      {"reply", reply},
                      {"push", push},
                      {"broadcast", broadcast},
                      {"end", end},
                      {"refusal", refusal},
                      {"reason", reason},
                      {"envelope", envelope},
                      {"signal", signal},
                      {"time", time},
                      {"ids", ids}});
}
