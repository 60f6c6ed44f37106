// See json_text.h.
#include "phoenix/json_text.h"

#include "phoenix/json_cursor.h"

namespace polyglot {

JsonError check_json(std::string_view text) {
  JsonCursor cursor(text);
  JsonError error = JsonError::none;
  if (!cursor.value(0)) {
    error = cursor.error();
  } else if (!cursor.at_end()) {
    error = JsonError::not_json;
  }
  // Bad UTF-8 anywhere is told before anything else that is wrong.
  if ((error != JsonError::none || cursor.saw_non_ascii()) && !is_utf8(text)) return JsonError::not_utf8;
  return error;
}

JsonError skip_value(std::string_view text, std::size_t& at) {
  JsonCursor cursor(text.substr(at));
  if (!cursor.value(0)) return cursor.error();
  at = static_cast<std::size_t>(cursor.at() - text.data());
  return JsonError::none;
}

}  // namespace polyglot
