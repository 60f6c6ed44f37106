// What the writer writes the reader reads, and bytes that are cut short or of another kind are refused.
#include <string>

#include "check.h"
#include "core/msgpack.h"
#include "dice.h"

namespace {

using namespace polyglot;
using namespace std::string_view_literals;

template <typename Read>
bool refused(std::string_view bytes, Read read) {
  MsgpackReader in(bytes);
  try {
    read(in);
  } catch (const MsgpackError&) {
    return true;
  }
  return false;
}

TEST("integers of every width come back, in their shortest form") {
  const std::pair<std::uint64_t, std::size_t> widths[] = {
      {0, 1}, {127, 1}, {128, 3}, {0xffff, 3}, {0x10000, 5}, {0xffffffff, 5}, {0x100000000, 9}, {~std::uint64_t{0}, 9}};
  for (const auto& [value, size] : widths) {
    std::string out;
    MsgpackWriter(out).integer(value);
    CHECK_EQ(out.size(), size);
    MsgpackReader in(out);
    CHECK_EQ(in.natural(), value);
    CHECK(in.at_end());
    for (std::size_t cut = 0; cut < size; ++cut) {
      CHECK(refused(std::string_view(out).substr(0, cut), [](MsgpackReader& short_) { short_.integer(); }));
    }
  }
}

TEST("signed integers and numbers are read as msgspec writes them") {
  const std::pair<std::string_view, std::int64_t> texts[] = {{"\xff"sv, -1},
                                                             {"\xe0"sv, -32},
                                                             {"\xd0\x80"sv, -128},
                                                             {"\xcc\x80"sv, 128},
                                                             {"\xd1\x80\x00"sv, -32768},
                                                             {"\xd2\x80\x00\x00\x00"sv, -2147483648LL},
                                                             {"\xd3\xff\xff\xff\xff\xff\xff\xff\xfe"sv, -2}};
  for (const auto& [bytes, value] : texts) CHECK_EQ(MsgpackReader(bytes).integer(), value);
  CHECK_EQ(MsgpackReader("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"sv).number(), 1.5);
  CHECK_EQ(MsgpackReader("\x07"sv).number(), 7.0);
}

TEST("texts, bytes and arrays come back around every border of their length") {
  for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536}) {
    const std::string text(size, 't');
    std::string out;
    MsgpackWriter writer(out);
    writer.text(text);
    writer.binary(text);
    writer.array(size);
    writer.map(size);
    MsgpackReader in(out);
    CHECK(in.text() == text);
    CHECK(in.binary() == text);
    CHECK_EQ(in.array(), size);
    CHECK_EQ(in.map(), size);
    CHECK(in.at_end());
  }
}

TEST("a value of another kind is refused, and nil is not taken for a value") {
  CHECK(refused("\xc0"sv, [](MsgpackReader& in) { in.integer(); }));
  CHECK(refused("\xa1x"sv, [](MsgpackReader& in) { in.binary(); }));
  CHECK(refused("\x01"sv, [](MsgpackReader& in) { in.text(); }));
  CHECK(refused("\x01"sv, [](MsgpackReader& in) { in.boolean(); }));
  CHECK(refused("\x91"sv, [](MsgpackReader& in) { in.map(); }));
  CHECK(refused("\x92"sv, [](MsgpackReader& in) { in.array(3); }));
  CHECK(refused("\xc1"sv, [](MsgpackReader& in) { in.skip(); }));
  CHECK(refused(std::string(40, '\x91'), [](MsgpackReader& in) { in.skip(); }));
  MsgpackReader in("\xc0\xa0"sv);
  CHECK_EQ(in.optional_text(), "");
  CHECK_EQ(in.optional_text(), "");
  CHECK(in.at_end());
}

void append_any(MsgpackWriter& out, check::Dice& dice, int depth) {
  switch (dice.below(depth > 0 ? 7 : 5)) {
    case 0:
      return out.nil();
    case 1:
      return out.boolean(dice.one_in(2));
    case 2:
      return out.integer(dice.next() >> dice.below(64));
    case 3:
      return out.text(std::string(dice.below(300), 'x'));
    case 4:
      return out.binary(std::string(dice.below(300), 'x'));
    default:
      const std::size_t size = dice.below(5);
      const bool map = dice.one_in(2);
      map ? out.map(size) : out.array(size);
      for (std::size_t left = map ? 2 * size : size; left > 0; --left) append_any(out, dice, depth - 1);
  }
}

TEST("skipping goes over exactly one value, and never beyond the end") {
  for (std::uint64_t seed = 1; seed <= check::seeds(300); ++seed) {
    check::Dice dice(seed);
    std::string out;
    MsgpackWriter writer(out);
    append_any(writer, dice, 4);
    const std::size_t size = out.size();
    writer.integer(7);
    MsgpackReader in(out);
    in.skip();
    CHECK_EQ(in.position(), size);
    CHECK_EQ(in.natural(), 7u);
    CHECK(refused(std::string_view(out).substr(0, dice.below(size)), [](MsgpackReader& cut) { cut.skip(); }));
  }
}

}  // namespace
