// The load generator's own framing, and the stamps in its messages.
#include <cstring>
#include <set>
#include <string>
#include <string_view>

#include "check.h"
#include "client_frames.h"
#include "random.h"
#include "stamp.h"

namespace {

using namespace polyglot::load;

std::string client_frame(std::string_view payload, std::uint32_t mask) {
  std::string out;
  append_client_frame(out, Opcode::text, payload, mask);
  return out;
}

std::string unmasked(std::string_view frame, std::size_t head) {
  std::string payload;
  for (std::size_t i = head; i < frame.size(); ++i) {
    payload += static_cast<char>(frame[i] ^ frame[head - 4 + (i - head) % 4]);
  }
  return payload;
}

FrameResult take(std::string_view data, ServerFrame& frame) { return take_frame(data, frame); }

}  // namespace

TEST("a masked frame is that of RFC 6455's example") {
  std::uint32_t mask;
  std::memcpy(&mask, "\x37\xfa\x21\x3d", 4);
  CHECK_EQ(client_frame("Hello", mask), "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
}

TEST("every length has its head, and comes back unmasked") {
  for (const std::size_t size : {0u, 1u, 7u, 8u, 9u, 125u, 126u, 127u, 65535u, 65536u, 70001u}) {
    std::string payload(size, '\0');
    for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<char>(i * 31);
    const std::string frame = client_frame(payload, 0xdeadbeef);
    const std::size_t head = size < 126 ? 6 : size < 65536 ? 8 : 14;
    CHECK_EQ(frame.size(), head + size);
    CHECK((static_cast<std::uint8_t>(frame[1]) & 0x80) != 0);
    CHECK(unmasked(frame, head) == payload);
  }
}

TEST("masks differ from frame to frame and from run to run") {
  Random one, other;
  std::set<std::uint32_t> masks;
  for (int i = 0; i < 1000; ++i) {
    masks.insert(static_cast<std::uint32_t>(one.next()));
    masks.insert(static_cast<std::uint32_t>(other.next()));
  }
  CHECK(masks.size() > 1990u);
}

TEST("a server's frame is taken when its last byte is there, whatever its length") {
  for (const std::size_t size : {0u, 125u, 126u, 65535u, 65536u}) {
    std::string data = "\x81";
    if (size < 126) {
      data += static_cast<char>(size);
    } else if (size < 65536) {
      data += "\x7e";
      data += static_cast<char>(size >> 8);
      data += static_cast<char>(size & 0xff);
    } else {
      data += std::string("\x7f\0\0\0\0\0\1\0\0", 9);
    }
    data.append(size, 'x');
    ServerFrame frame;
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{3}, data.size() - 1}) {
      if (cut < data.size()) CHECK(take(std::string_view(data).substr(0, cut), frame) == FrameResult::need_more);
    }
    std::string_view rest = data += "\x8a";
    CHECK(take_frame(rest, frame) == FrameResult::frame);
    CHECK_EQ(frame.payload.size(), size);
    CHECK_EQ(rest, "\x8a");
  }
}

TEST("frames that a server may not send, and split ones, are faults") {
  ServerFrame frame;
  CHECK(take(std::string("\x81\x81\0\0\0\0x", 7), frame) == FrameResult::fault);  // masked
  CHECK(take("\xc1\x01x", frame) == FrameResult::fault);                           // a reserved bit
  CHECK(take("\x01\x01x", frame) == FrameResult::fault);                           // more to follow
  CHECK(take(std::string("\x80\x01x", 3), frame) == FrameResult::fault);           // a part of nothing
}

TEST("a stamp is read as it was written") {
  const Stamp written{0x0123456789abcdef, 0xfedcba98};
  std::string text(kStampBytes, ' ');
  write_stamp(text.data(), written);
  CHECK_EQ(text, "@PLG@0123456789abcdeffedcba98");
  Stamp read;
  CHECK(read_stamp(text + "xx", read));
  CHECK_EQ(read.due_ns, written.due_ns);
  CHECK_EQ(read.sender, written.sender);
  CHECK(!read_stamp("@PLG@0123456789abcdefFEDCBA98", read));
  CHECK(!read_stamp(text.substr(1), read));
  CHECK(!read_stamp(text.substr(0, kStampBytes - 1), read));
}

TEST("a stamp is found again where a frame has grown") {
  std::string stamp(kStampBytes, ' ');
  write_stamp(stamp.data(), {7, 8});
  StampFinder finder;
  Stamp found;
  CHECK_EQ(finder.find("head " + stamp + " tail 9", found), 5u);
  CHECK_EQ(finder.find("head " + stamp + " tail 9", found), 5u);
  CHECK_EQ(finder.find("head " + stamp + " tail 10", found), 5u);
  CHECK_EQ(found.due_ns, 7);
  CHECK_EQ(finder.find("no stamp at all", found), std::string_view::npos);
}
