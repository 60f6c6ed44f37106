// JSON as text: checked (grammar, UTF-8, depth), cut into its members, never rebuilt. The rules are those of
// polyglotd/protocol/json_text.py, which is the reference; tests compare the two.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace polyglot {

inline constexpr int kJsonDepthMax = 900;  // 500 brackets pass, 1,000 do not

enum class JsonError { none, not_utf8, not_json, too_deep };

// The whole of `text` is one JSON value (with whitespace around it), and UTF-8.
JsonError check_json(std::string_view text);

// Checks one value that begins at `at` (after whitespace) and moves `at` behind it. `text` must be UTF-8 already or
// be checked by the caller as a whole with `is_utf8`.
JsonError skip_value(std::string_view text, std::size_t& at);

bool is_utf8(std::string_view text);

// A JSON string with its quotes as text: a view into the token where nothing is escaped, else decoded into `scratch`.
// False where the token is no JSON string; half a surrogate pair in escapes makes it none. UTF-8 is not checked.
bool decode_string(std::string_view token, std::string& scratch, std::string_view& text);

// The same for a token that was found to be a JSON string already.
std::string_view decoded_string(std::string_view token, std::string& scratch);
void append_decoded_string(std::string& out, std::string_view token);

// Text as a JSON string with its quotes, escaped as msgspec does.
void append_json_string(std::string& out, std::string_view text);

}  // namespace polyglot
