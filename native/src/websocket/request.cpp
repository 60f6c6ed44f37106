#include "websocket/request.h"

#include <algorithm>

#include "base/ascii.h"

namespace polyglot {
namespace {

constexpr std::size_t kLengthDigitsMax = 20;
constexpr std::string_view kBlanks = " \t";

bool is_visible(char c) { return c > 0x20 && c < 0x7F; }

bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char); }

// Other control characters are let through, as browsers' cookies have them.
bool is_in_value(char c) { return c != '\0' && c != '\n' && c != '\r' && c != '\v' && c != '\f'; }

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// Cuts the next line off `rest`, without its end, which may be a bare line feed. False where there is none.
bool take_line(std::string_view& rest, std::string_view& line) {
  const std::size_t end = rest.find('\n');
  if (end == std::string_view::npos) return false;
  line = rest.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  rest.remove_prefix(end + 1);
  return true;
}

bool parse_request_line(std::string_view line, Request& request) {
  const std::size_t method_end = line.find(' ');
  if (method_end == std::string_view::npos) return false;
  const std::size_t target_end = line.find(' ', method_end + 1);
  if (target_end == std::string_view::npos) return false;
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  const std::string_view version = line.substr(target_end + 1);
  if (target.empty() || !std::all_of(target.begin(), target.end(), is_visible)) return false;
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) || version[6] != '.' ||
      !is_digit(version[7])) {
    return false;
  }
  request.method = line.substr(0, method_end);
  request.target = target;
  request.version = version.substr(5);
  return is_token(request.method);
}

bool parse_header(std::string_view line, Request& request) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = without_blanks(line.substr(colon + 1));
  if (!is_token(name) || !std::all_of(value.begin(), value.end(), is_in_value)) return false;
  request.headers.emplace_back(to_lower(name), value);
  return true;
}

bool parse_headers(std::string_view rest, Request& request) {
  std::string_view line;
  std::string joined;  // of lines that are folded (RFC 9112, 5.2)
  bool begun = false;
  std::string_view next;
  while (take_line(rest, next) && !next.empty()) {
    if (kBlanks.find(next[0]) == std::string_view::npos) {
      if (begun && !parse_header(line, request)) return false;
      line = next;
      begun = true;
      continue;
    }
    if (!begun) return false;
    if (line.data() != joined.data()) joined = line;
    joined += ' ';
    const std::size_t first = next.find_first_not_of(kBlanks);
    if (first != std::string_view::npos) joined += next.substr(first);
    line = joined;
  }
  return !begun || parse_header(line, request);
}

// The items of a Content-Length are one number, however often it is said; no number: false.
bool is_length(std::string_view value, std::string_view& length) {
  while (true) {
    const std::size_t comma = value.find(',');
    const std::string_view item = without_blanks(value.substr(0, comma));
    const bool is_number = !item.empty() && std::all_of(item.begin(), item.end(), is_digit);
    if (!is_number || item.size() > kLengthDigitsMax || (!length.empty() && item != length)) return false;
    length = item;
    if (comma == std::string_view::npos) return true;
    value.remove_prefix(comma + 1);
  }
}

// What several headers say together.
bool is_consistent(const Request& request) {
  std::string_view length;
  std::string_view coding;
  for (const auto& [name, value] : request.headers) {
    if (name == "content-length" && !is_length(value, length)) return false;
  }
  const std::size_t codings = request.count("transfer-encoding", &coding);
  if (codings > 1 || (codings == 1 && to_lower(coding) != "chunked")) return false;
  const std::size_t hosts = request.count("host");
  return hosts == 1 || (hosts == 0 && request.version != "1.1");
}

}  // namespace

std::size_t Request::count(std::string_view name, std::string_view* value) const {
  std::size_t found = 0;
  for (const auto& header : headers) {
    if (header.first != name) continue;
    ++found;
    if (value != nullptr) *value = header.second;
  }
  return found;
}

bool parse_request(std::string_view head, Request& request) {
  // Without an empty line at its end it is not whole. A first line that is empty would be that end: no request.
  if (head.find("\n\n") == std::string_view::npos && head.find("\n\r\n") == std::string_view::npos) return false;
  std::string_view line;
  return take_line(head, line) && parse_request_line(line, request) && parse_headers(head, request) &&
         is_consistent(request);
}

}  // namespace polyglot
