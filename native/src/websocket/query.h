// One value of a query string, read as Python's `parse_qs(query, keep_blank_values=True)` does.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace polyglot {

// The last value of `name`, its escapes decoded (bytes: UTF-8 is not checked); none where it is not there.
std::optional<std::string> last_value(std::string_view query, std::string_view name);

}  // namespace polyglot
