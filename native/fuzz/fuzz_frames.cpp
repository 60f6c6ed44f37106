// A client's bytes through FrameReader. The first byte of an input chooses the limit and how the stream is cut, the
// rest is the stream. What must hold:
//   - the items are the same whether the stream is fed whole or in pieces, and with what was fed kept or not;
//   - a message has at most as many bytes as the limit says, a control frame at most 125; a close reason is UTF-8;
//   - a close or a fault is the last item;
//   - the memory held is bounded by what has come, and is none at the end of a message;
//   - messages written again as frames are read as they were.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client_frame.h"
#include "phoenix/json_text.h"
#include "require.h"
#include "websocket/frame_reader.h"

namespace {

using namespace polyglot;
using Kind = Received::Kind;

constexpr std::size_t kHeldBytesMax = 512;  // beside what has come of a message
constexpr std::size_t kLimits[] = {0, 1, 125, 126, 1000, 65536, 1u << 20, 0xffffffff};

struct Item {
  Kind kind;
  bool binary;
  std::uint16_t code;
  std::string data;

  bool operator==(const Item&) const = default;
};

struct Cut {
  std::size_t first;
  std::size_t step;
  bool keep;
};

void check_item(const Item& item, std::size_t limit) {
  const bool ends = item.kind == Kind::close || item.kind == Kind::fault;
  REQUIRE(ends == (item.code != 0));
  if (item.kind == Kind::message) {
    REQUIRE(item.data.size() <= limit);
  } else {
    REQUIRE(!item.binary);
    REQUIRE(item.data.size() <= (item.kind == Kind::close ? 123u : 125u));
  }
  if (ends) REQUIRE(is_utf8(item.data));
  if (item.kind == Kind::fault) REQUIRE(item.code == 1002 || item.code == 1007 || item.code == 1009);
}

std::vector<Item> read(std::string_view stream, std::size_t limit, Cut cut) {
  FrameReader reader(limit);
  std::vector<Item> items;
  std::size_t at = 0;
  std::size_t size = cut.first;
  do {
    const std::string_view piece = stream.substr(at, size);
    auto bytes = std::make_unique<char[]>(piece.size());  // of exactly that size: sanitizers see a step beyond
    piece.copy(bytes.get(), piece.size());
    reader.feed(bytes.get(), piece.size());
    at += piece.size();
    Received received;
    while (reader.next(received)) {
      REQUIRE(items.empty() || (items.back().kind != Kind::close && items.back().kind != Kind::fault));
      items.push_back({received.kind, received.binary, received.code, std::string(received.data)});
      check_item(items.back(), limit);
      const bool ends = received.kind == Kind::close || received.kind == Kind::fault;
      REQUIRE(reader.is_over() == ends);
      if (cut.keep) {
        reader.keep();
        bytes.reset();
      }
    }
    REQUIRE(reader.held_bytes() <= kHeldBytesMax + 2 * at);
    REQUIRE(reader.held_bytes() <= kHeldBytesMax + 2 * limit);
    if (reader.is_over()) REQUIRE(reader.held_bytes() == 0);
    size = cut.step;
  } while (at < stream.size());
  return items;
}

std::string written(const std::vector<Item>& items) {
  std::string stream;
  for (const Item& item : items) {
    const unsigned opcode = item.kind == Kind::ping ? 9 : item.kind == Kind::pong ? 10 : item.binary ? 2 : 1;
    if (item.code == 0) stream += polyglot::testing::client_frame(0x80u | opcode, item.data);
  }
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t limit = kLimits[data[0] & 7];
  const std::size_t step = 1 + (data[0] >> 3);
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);

  std::vector<Item> items = read(stream, limit, {stream.size(), 1, false});
  REQUIRE(read(stream, limit, {1, 1, false}) == items);
  REQUIRE(read(stream, limit, {step, 3 * step, false}) == items);
  REQUIRE(read(stream, limit, {stream.size(), 1, true}) == items);
  REQUIRE(read(stream, limit, {stream.size() / 2, stream.size(), true}) == items);

  const std::string again = written(items);
  std::erase_if(items, [](const Item& item) { return item.code != 0; });
  REQUIRE(read(again, limit, {again.size(), 1, false}) == items);
  return 0;
}
