// JSON as text: what is taken, and how strings come out. A few by hand, and what the comparison with the Python plane
// (tests/unit/native/test_text_against_reference.py) can't see: bounds, views, and the portable scan.
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "phoenix/json_text.h"
#include "phoenix/string_scan.h"

namespace {

using namespace polyglot;
using namespace std::string_literals;

std::string repeated(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

int word(JsonError error) { return static_cast<int>(error); }

struct Case {
  const char* what;
  std::string text;
  JsonError verdict;
};

const Case kCases[] = {
    {"an object", R"({ "a" : [1, -0.5e+3, true, false, null, "\u00e9\n"], "a": {} })", JsonError::none},
    {"a number alone", "12345678901234567890123", JsonError::none},
    {"UTF-8 in a string", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", JsonError::none},
    {"a pair of surrogates", R"("\ud83d\ude00")", JsonError::none},
    {"as many brackets as may be", repeated("[", kJsonDepthMax) + repeated("]", kJsonDepthMax), JsonError::none},
    {"nothing", "", JsonError::not_json},
    {"a NUL byte", "\0"s, JsonError::not_json},
    {"a NUL byte behind a value", "1\0"s, JsonError::not_json},
    {"a NUL byte in a string", "\"\0\""s, JsonError::not_json},
    {"a trailing comma", "[1,]", JsonError::not_json},
    {"half a surrogate pair", R"("\ud800")", JsonError::not_json},
    {"two second halves", R"("\udc00\udc00")", JsonError::not_json},
    {"a key that is no string", "{1:2}", JsonError::not_json},
    {"UTF-8 outside of strings", "\xc3\xa9", JsonError::not_json},
    {"a byte that is no UTF-8", "\"\xff\"", JsonError::not_utf8},
    {"no UTF-8 behind what is no JSON", "x\xff", JsonError::not_utf8},
    {"one bracket more", repeated("[", kJsonDepthMax + 1) + repeated("]", kJsonDepthMax + 1), JsonError::too_deep},
    {"a bracket too many in objects", repeated("{\"a\":", kJsonDepthMax + 1), JsonError::too_deep},
    {"10,000 brackets and no UTF-8", repeated("[", 10'000) + "\xff", JsonError::not_utf8},
};

TEST("JSON is told from what is none, and why") {
  for (const Case& test : kCases) {
    const JsonError verdict = check_json(test.text);
    if (verdict != test.verdict) check::fail(__FILE__, __LINE__, test.what);
  }
}

TEST("a text that is cut anywhere is no JSON, and nothing beyond its end is read") {
  const std::string whole =
      R"({"a":[1.5e-7,"b\ud83d\ude00\n\u00e9"],"\\":null,"c":false,"long enough for a step":"\"x"})";
  CHECK_EQ(word(check_json(whole)), word(JsonError::none));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto exact = std::make_unique<char[]>(size);  // a sanitizer sees the byte behind it
    whole.copy(exact.get(), size);
    CHECK_EQ(word(check_json({exact.get(), size})), word(JsonError::not_json));
  }
}

TEST("skipping a value ends right behind it") {
  const std::string text = R"(  {"a":[1,2]} , "b")";
  std::size_t at = 0;
  CHECK_EQ(word(skip_value(text, at)), word(JsonError::none));
  CHECK_EQ(text.substr(at), " , \"b\"");
  at += 2;
  CHECK_EQ(word(skip_value(text, at)), word(JsonError::none));
  CHECK_EQ(at, text.size());
  CHECK_EQ(word(skip_value(text, at)), word(JsonError::not_json));
  CHECK_EQ(at, text.size());
}

TEST("a string without escapes is a view into its token") {
  const std::string token = "\"r\xc3\xa9sum\xc3\xa9\"";
  std::string scratch = "untouched";
  std::string_view text;
  CHECK(decode_string(token, scratch, text));
  CHECK_EQ(text, "r\xc3\xa9sum\xc3\xa9");
  CHECK(text.data() == token.data() + 1);
  CHECK_EQ(scratch, "untouched");
}

TEST("escapes are decoded") {
  std::string scratch;
  std::string_view text;
  CHECK(decode_string(R"("\"\\\/\b\f\n\r\t\u0000\u0041\u00e9\u20AC\ud83d\ude00.")", scratch, text));
  CHECK_EQ(text, "\"\\/\b\f\n\r\t\0A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80."s);
}

TEST("what is no string is not decoded") {
  std::string scratch;
  std::string_view text;
  for (const std::string& token : {""s, "\""s, "a"s, "null"s, "\"a"s, "\"a\\\""s, "\"a\"b"s, "\"a\"\""s, "\"\n\""s,
                                   "\"\\ud800\""s, "\"\\x\""s, "\"\\u12\""s, " \"a\""s}) {
    CHECK(!decode_string(token, scratch, text));
  }
}

TEST("text is escaped as little as JSON allows") {
  std::string out = "before";
  append_json_string(out, "\"\\/\b\f\n\r\t\0\x1f\x7f<\xe2\x80\xa8>"s);
  CHECK_EQ(out, "before\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f<\xe2\x80\xa8>\"");
}

TEST("UTF-8 ends where Unicode and its shortest forms do") {
  for (const std::string& good : {""s, "a"s, "\xc2\x80"s, "\xdf\xbf"s, "\xe0\xa0\x80"s, "\xed\x9f\xbf"s,
                                  "\xee\x80\x80"s, "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s}) {
    for (const std::string& before : {""s, "1234567"s, "12345678"s, "123456789"s}) CHECK(is_utf8(before + good));
    for (std::size_t size = 1; size < good.size(); ++size) CHECK(!is_utf8("12345678" + good.substr(0, size)));
  }
  for (const std::string& bad : {"\x80"s, "\xbf"s, "\xc0\x80"s, "\xc1\xbf"s, "\xe0\x9f\xbf"s, "\xed\xa0\x80"s, "\xff"s,
                                 "\xf0\x8f\xbf\xbf"s, "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "\xc2\x41"s}) {
    CHECK(!is_utf8(bad));
    CHECK(!is_utf8("123456789" + bad + "12345678"));
  }
}

TEST("the fast scan stops where the portable one does, at every byte and place") {
  for (int byte = 0; byte < 256; ++byte) {
    for (std::size_t size = 1; size < 40; ++size) {
      const auto bytes = std::make_unique<char[]>(size);
      for (std::size_t place = 0; place < size; ++place) {
        std::fill_n(bytes.get(), size, 'a');
        bytes[place] = static_cast<char>(byte);
        unsigned high = 0;
        unsigned high_bytewise = 0;
        const char* const end = bytes.get() + size;
        CHECK(find_string_stop(bytes.get(), end, high) == find_string_stop_bytewise(bytes.get(), end, high_bytewise));
        CHECK_EQ(high != 0, byte >= 0x80);
        CHECK_EQ(high_bytewise != 0, byte >= 0x80);
      }
    }
  }
}

}  // namespace
