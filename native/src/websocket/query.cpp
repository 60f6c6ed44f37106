#include "websocket/query.h"

#include "base/ascii.h"

namespace polyglot {
namespace {

// `+` is a space; a percent sign without two digits stands for itself.
std::string decoded(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    const int high = text[at] == '%' && text.size() - at > 2 ? hex_value(text[at + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[at + 2]) : -1;
    if (low >= 0) {
      plain += static_cast<char>(static_cast<unsigned char>(high * 16 + low));
      at += 2;
    } else {
      plain += text[at] == '+' ? ' ' : text[at];
    }
  }
  return plain;
}

}  // namespace

std::optional<std::string> last_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t mark = query.rfind('&');
    const std::string_view pair = mark == std::string_view::npos ? query : query.substr(mark + 1);
    const std::size_t equals = pair.find('=');
    if (!pair.empty() && decoded(pair.substr(0, equals)) == name) {
      return decoded(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1));
    }
    query = query.substr(0, mark == std::string_view::npos ? 0 : mark);
  }
  return std::nullopt;
}

}  // namespace polyglot
