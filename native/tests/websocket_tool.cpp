// The driver's WebSocket functions as a filter (tool_fields.h), for
// tests/unit/native/test_websocket_against_reference.py.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/base64.h"
#include "base/sha1.h"
#include "tool_fields.h"
#include "websocket/frame_reader.h"
#include "websocket/frame_writer.h"
#include "websocket/handshake.h"
#include "websocket/query.h"

namespace {

using namespace polyglot;
using tool::Fields;

// A copy that has exactly the bytes of the text: a read beyond them is one that sanitizers see.
class Exact {
 public:
  explicit Exact(std::string_view text) : size_(text.size()), bytes_(new char[text.size()]) {
    text.copy(bytes_.get(), size_);
  }
  char* data() { return bytes_.get(); }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<char[]> bytes_;
};

void add_item(const Received& item, Fields& out) {
  static const char* const kKinds[] = {"message", "ping", "pong", "close", "fault"};
  out.insert(out.end(), {kKinds[static_cast<int>(item.kind)], item.binary ? "binary" : "text",
                         std::to_string(item.code), std::string(item.data)});
}

// "hold": after each item the rest is kept, and the place of what was fed is gone. Then, in turns, the limit that
// holds from now on and bytes to feed. Four fields an item.
Fields frames(const Fields& in) {
  FrameReader reader(0);
  Fields out;
  for (std::size_t at = 2; at + 1 < in.size(); at += 2) {
    reader.set_message_bytes_max(std::stoull(in[at]));
    auto bytes = std::make_unique<Exact>(in[at + 1]);
    reader.feed(bytes->data(), in[at + 1].size());
    Received item;
    while (reader.next(item)) {
      add_item(item, out);
      if (in[1] == "hold") {
        reader.keep();
        bytes.reset();
      }
    }
  }
  return out;
}

Fields encode(const Fields& in) {
  std::string out;
  append_frame(out, static_cast<Opcode>(std::stoi(in[1])), in[2]);
  return {out};
}

Fields encode_close(const Fields& in) {
  std::string out;
  append_close(out, static_cast<std::uint16_t>(std::stoul(in[1])), in[2]);
  return {out};
}

Fields size_of_head(const Fields& in) { return {std::to_string(head_size(Exact(in[1]).view()))}; }

Fields http(const Fields& in) { return {may_be_http(Exact(in[1]).view()) ? "true" : "false"}; }

Fields owner(const Fields& in) { return {owner_of(Exact(in[1]).view()) == Owner::plane ? "plane" : "gateway"}; }

Fields upgrade(const Fields& in) {
  Upgrade upgrade;
  std::string answer;
  if (!read_upgrade(Exact(in[1]).view(), upgrade, answer)) return {"refused", answer};
  Fields out{"upgrade",
             upgrade.query,
             upgrade.serializer == Serializer::v1 ? "1.0.0" : "2.0.0",
             upgrade.key,
             upgrade.subprotocol ? "phoenix" : "",
             accept_answer(upgrade.key, upgrade.subprotocol)};
  for (const auto& [name, value] : upgrade.headers) out.insert(out.end(), {name, value});
  return out;
}

std::vector<std::pair<std::string, std::string>> headers_from(const Fields& in, std::size_t at) {
  std::vector<std::pair<std::string, std::string>> headers;
  for (; at + 1 < in.size(); at += 2) headers.emplace_back(in[at], in[at + 1]);
  return headers;
}

Fields answer(const Fields& in) { return {http_answer(std::stoi(in[1]), headers_from(in, 3), in[2])}; }

Fields problem(const Fields& in) {
  return {problem_answer(std::stoi(in[1]), in[2], in[3], in[4], std::stol(in[5]), headers_from(in, 6))};
}

Fields query(const Fields& in) {
  const auto value = last_value(Exact(in[1]).view(), in[2]);
  return value ? Fields{*value} : Fields{};
}

Fields digest(const Fields& in) {
  const auto bytes = sha1(Exact(in[1]).view());
  return {{bytes.data(), bytes.size()}};
}

Fields base64(const Fields& in) { return {base64_encode(Exact(in[1]).view())}; }

Fields base64_size(const Fields& in) {
  const auto size = base64_decoded_size(Exact(in[1]).view());
  return size ? Fields{std::to_string(*size)} : Fields{};
}

}  // namespace

int main() {
  return tool::serve({{"frames", frames},
                      {"encode", encode},
                      {"encode_close", encode_close},
                      {"head_size", size_of_head},
                      {"may_be_http", http},
                      {"owner_of", owner},
                      {"upgrade", upgrade},
                      {"answer", answer},
                      {"problem", problem},
                      {"query", query},
                      {"sha1", digest},
                      {"base64", base64},
                      {"base64_size", base64_size}});
}
