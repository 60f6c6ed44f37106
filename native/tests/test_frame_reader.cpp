// What the comparison with the Python plane can't see: what is copied, and how much memory is held. The rules of
// RFC 6455 themselves are compared in tests/unit/native/test_websocket_against_reference.py.
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "client_frame.h"
#include "websocket/frame_reader.h"
#include "websocket/mask.h"

namespace {

using namespace polyglot;
using polyglot::testing::client_frame;
using polyglot::testing::client_head;

constexpr std::size_t kLimit = 100000;

struct Item {
  Received::Kind kind;
  bool binary;
  unsigned code;
  std::string data;

  bool operator==(const Item&) const = default;
};

std::vector<Item> take(FrameReader& reader, std::string& bytes) {
  std::vector<Item> items;
  reader.feed(bytes.data(), bytes.size());
  Received received;
  while (reader.next(received)) {
    items.push_back({received.kind, received.binary, received.code, std::string(received.data)});
  }
  return items;
}

bool lies_in(std::string_view view, const std::string& bytes) {
  return view.data() >= bytes.data() && view.data() + view.size() <= bytes.data() + bytes.size();
}

// The masking of RFC 6455 at any place and of any length, with a guard on both sides.
TEST("a mask covers exactly its bytes, from any offset") {
  for (std::size_t size = 0; size < 70; ++size) {
    for (std::size_t offset = 0; offset < 5; ++offset) {
      std::string plain;
      for (std::size_t i = 0; i < size + 32; ++i) plain += static_cast<char>(i * 7 + 1);
      std::string data = plain;
      std::uint32_t key = 0;
      std::memcpy(&key, polyglot::testing::kMask.data(), 4);
      apply_mask(data.data() + 16, size, key, offset);
      for (std::size_t i = 0; i < size; ++i) {
        plain[16 + i] = static_cast<char>(plain[16 + i] ^ polyglot::testing::kMask[(offset + i) % 4]);
      }
      CHECK(data == plain);
    }
  }
}

TEST("messages that lie whole in what was fed are views into it, and nothing is held") {
  FrameReader reader(kLimit);
  std::string bytes = client_frame(0x81, "one") + client_frame(0x82, std::string(5000, 'b')) + client_frame(0x89, "p");
  reader.feed(bytes.data(), bytes.size());
  Received received;
  for (const std::size_t size : {std::size_t{3}, std::size_t{5000}, std::size_t{1}}) {
    CHECK(reader.next(received));
    CHECK_EQ(received.data.size(), size);
    CHECK(lies_in(received.data, bytes));
    CHECK_EQ(reader.held_bytes(), 0u);
  }
  CHECK(!reader.next(received));
  CHECK_EQ(reader.held_bytes(), 0u);
}

TEST("a ping between two fragments is a view, the fragments are put together") {
  FrameReader reader(kLimit);
  std::string bytes = client_frame(0x01, "he") + client_frame(0x89, "now") + client_frame(0x80, "llo");
  reader.feed(bytes.data(), bytes.size());
  Received received;
  CHECK(reader.next(received));
  CHECK(received.kind == Received::Kind::ping && lies_in(received.data, bytes));
  CHECK(reader.next(received));
  CHECK_EQ(received.data, "hello");
  CHECK(!reader.next(received));
  CHECK_EQ(reader.held_bytes(), 0u);
}

TEST("what a length claims is not reserved: memory grows with what has come") {
  FrameReader reader(64u << 20);
  std::string head = client_head(0x82, 64u << 20);
  CHECK(take(reader, head).empty());
  CHECK(reader.held_bytes() < 512);
  std::string piece(1000, 'x');
  for (std::size_t come = piece.size(); come <= 64 * piece.size(); come += piece.size()) {
    CHECK(take(reader, piece).empty());
    CHECK(reader.held_bytes() < 512 + 2 * come);
  }
}

TEST("memory is let go with the last message that was half received") {
  FrameReader reader(kLimit);
  const std::string whole = client_frame(0x81, std::string(90000, 'a'));
  std::string first = whole.substr(0, 50000);
  std::string second = whole.substr(50000);
  CHECK(take(reader, first).empty());
  CHECK(reader.held_bytes() > 49000);
  CHECK_EQ(take(reader, second).size(), 1u);
  CHECK_EQ(reader.held_bytes(), 0u);
}

TEST("a long message that is over is not held for a short one that is not") {
  FrameReader reader(kLimit);
  std::string first = client_frame(0x01, std::string(90000, 'a'));
  std::string second = client_frame(0x80, "b") + client_frame(0x01, "short");
  CHECK(take(reader, first).empty());
  CHECK_EQ(take(reader, second).size(), 1u);
  CHECK(reader.held_bytes() > 0);
  CHECK(reader.held_bytes() < 512);
}

TEST("a head of which a part has come is held, and no more than it") {
  FrameReader reader(kLimit);
  const std::string whole = client_frame(0x82, std::string(70000, 'a'));
  for (std::size_t at = 0; at < 13; ++at) {
    std::string byte = whole.substr(at, 1);
    CHECK(take(reader, byte).empty());
    CHECK(reader.held_bytes() > 0);
    CHECK(reader.held_bytes() < 512);
  }
  std::string rest = whole.substr(13);
  const auto items = take(reader, rest);
  CHECK_EQ(items.size(), 1u);
  CHECK(items[0].data == std::string(70000, 'a'));
}

TEST("what is kept is read on from, while its place is used for something else") {
  FrameReader reader(kLimit);
  std::string bytes = client_frame(0x81, "one") + client_frame(0x81, "two") + client_frame(0x81, "three").substr(0, 8);
  reader.feed(bytes.data(), bytes.size());
  Received received;
  CHECK(reader.next(received));
  reader.keep();
  bytes.assign(bytes.size(), '?');
  CHECK(reader.held_bytes() > 0);
  reader.keep();  // nothing new to keep
  CHECK(reader.next(received));
  CHECK_EQ(received.data, "two");
  CHECK(!reader.next(received));
  CHECK(reader.held_bytes() < 512);
  std::string rest = client_frame(0x81, "three").substr(8);
  CHECK(take(reader, rest) == std::vector<Item>({{Received::Kind::message, false, 0, "three"}}));
  CHECK_EQ(reader.held_bytes(), 0u);
}

TEST("nothing is kept where all was taken, or all is over") {
  FrameReader reader(kLimit);
  std::string bytes = client_frame(0x81, "one");
  reader.feed(bytes.data(), bytes.size());
  Received received;
  CHECK(reader.next(received));
  reader.keep();
  CHECK_EQ(reader.held_bytes(), 0u);
  bytes = client_frame(0x88, "") + client_frame(0x81, std::string(5000, 'x'));
  reader.feed(bytes.data(), bytes.size());
  CHECK(reader.next(received));
  reader.keep();
  CHECK(!reader.next(received));
  CHECK_EQ(reader.held_bytes(), 0u);
}

TEST("nothing is read after a close or a fault, and nothing is held") {
  for (const std::string& last : {client_frame(0x88, "\x03\xe8 bye"), client_frame(0x83, "x")}) {
    FrameReader reader(kLimit);
    std::string fragment = client_frame(0x01, std::string(3000, 'a'));
    CHECK(take(reader, fragment).empty());
    CHECK(!reader.is_over());
    std::string bytes = last + client_frame(0x81, "late");
    CHECK_EQ(take(reader, bytes).size(), 1u);
    CHECK(reader.is_over());
    bytes = client_frame(0x81, "later");
    CHECK(take(reader, bytes).empty());
    CHECK_EQ(reader.held_bytes(), 0u);
  }
}

TEST("a fault's words stay until the next call, also those that are no literal") {
  FrameReader reader(1000);
  std::string bytes = client_frame(0x81, std::string(1001, 'a'));
  reader.feed(bytes.data(), bytes.size());
  Received received;
  CHECK(reader.next(received));
  bytes.assign(bytes.size(), '?');
  CHECK_EQ(received.code, 1009);
  CHECK_EQ(received.data, "a message has at most 1000 bytes");
}

TEST("a limit holds for the frames that follow") {
  FrameReader reader(10);
  std::string bytes = client_frame(0x81, std::string(20, 'a'));
  std::string head = bytes.substr(0, 7);
  std::string rest = bytes.substr(7);
  reader.set_message_bytes_max(20);
  CHECK(take(reader, head).empty());
  reader.set_message_bytes_max(10);  // the frame was let in
  CHECK_EQ(take(reader, rest).size(), 1u);
  bytes = client_frame(0x81, std::string(20, 'a'));
  const auto items = take(reader, bytes);
  CHECK_EQ(items.size(), 1u);
  CHECK_EQ(items[0].code, 1009u);
}

TEST("a reader that is moved goes on where it was") {
  FrameReader reader(kLimit);
  const std::string whole = client_frame(0x81, "hello");
  std::string first = whole.substr(0, 8);
  std::string second = whole.substr(8);
  CHECK(take(reader, first).empty());
  FrameReader moved(std::move(reader));
  CHECK(take(moved, second) == std::vector<Item>({{Received::Kind::message, false, 0, "hello"}}));
}

}  // namespace
