// The opening handshake of a WebSocket (RFC 6455, 4.2), and what Phoenix adds to it: handshake.h. Decides what needs
// no app: whether the handshake is sound and the serializer known. Who may connect is the gateway's matter.
#include "websocket/handshake.h"

#include "base/ascii.h"
#include "base/base64.h"
#include "base/sha1.h"
#include "websocket/query.h"
#include "websocket/request.h"

namespace polyglot {
namespace {

constexpr std::string_view kSubprotocol = "phoenix";  // named beside the authToken, whose entry is never answered
constexpr std::string_view kVersion = "13";
constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // 1.3
constexpr std::size_t kKeyBytes = 16;

bool refuse(std::string& answer, std::string_view detail) {
  answer = problem_answer(400, "invalid", detail, "handshake");
  return false;
}

// Whether `found` holds for one of the comma-separated tokens of all headers with this name.
template <typename Found>
bool any_token(const Request& request, std::string_view name, Found found) {
  for (const auto& header : request.headers) {
    if (header.first != name) continue;
    std::string_view rest = header.second;
    while (true) {
      const std::size_t comma = rest.find(',');
      std::string_view token = rest.substr(0, comma);
      while (!token.empty() && (token.front() == ' ' || token.front() == '\t')) token.remove_prefix(1);
      while (!token.empty() && (token.back() == ' ' || token.back() == '\t')) token.remove_suffix(1);
      if (!token.empty() && found(token)) return true;
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return false;
}

bool has_token(const Request& request, std::string_view name, std::string_view wanted) {
  return any_token(request, name, [wanted](std::string_view token) { return equals_ignoring_case(token, wanted); });
}

std::string latin1_as_utf8(std::string_view latin1) {
  std::string utf8;
  utf8.reserve(latin1.size());
  for (const char c : latin1) {
    const unsigned code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      utf8 += c;
    } else {
      utf8 += static_cast<char>(0xC0u | code >> 6);
      utf8 += static_cast<char>(0x80u | (code & 0x3Fu));
    }
  }
  return utf8;
}

// Absent means 1.0.0; phoenix.js puts its own last.
bool read_serializer(std::string_view query, Serializer& serializer) {
  const std::string vsn = last_value(query, "vsn").value_or("1.0.0");
  serializer = vsn == "2.0.0" ? Serializer::v2 : Serializer::v1;
  return vsn == "1.0.0" || vsn == "2.0.0";
}

}  // namespace

bool read_upgrade(std::string_view head, Upgrade& upgrade, std::string& answer) {
  Request request;
  if (!parse_request(head, request)) return refuse(answer, "not a request of HTTP/1.1");
  if (request.version < "1.1") return refuse(answer, "a WebSocket needs HTTP/1.1 (RFC 6455, 4.2.1)");
  if (!has_token(request, "connection", "upgrade")) {
    return refuse(answer, "`Connection: Upgrade` is missing (RFC 6455, 4.2.1)");
  }
  if (!has_token(request, "upgrade", "websocket")) {
    return refuse(answer, "`Upgrade: websocket` is missing (RFC 6455, 4.2.1)");
  }
  if (request.count("content-length") > 0 || request.count("transfer-encoding") > 0) {
    return refuse(answer, "a handshake has no body");
  }
  std::string_view version;
  if (request.count("sec-websocket-version", &version) != 1 || version != kVersion) {
    answer = problem_answer(426, "invalid", "this server speaks version 13 (RFC 6455, 4.4)", "sec-websocket-version",
                            -1, {{"sec-websocket-version", std::string(kVersion)}});
    return false;
  }
  std::string_view key;
  if (request.count("sec-websocket-key", &key) != 1 || base64_decoded_size(key) != kKeyBytes) {
    return refuse(answer, "Sec-WebSocket-Key is 16 bytes in base64, once (RFC 6455, 4.1)");
  }
  const std::size_t mark = request.target.find('?');
  upgrade.query = mark == std::string::npos ? std::string() : request.target.substr(mark + 1);
  if (!read_serializer(upgrade.query, upgrade.serializer)) {
    answer = problem_answer(403, "forbidden", "vsn is 1.0.0 or 2.0.0");
    return false;
  }
  upgrade.key = key;
  upgrade.subprotocol =
      any_token(request, "sec-websocket-protocol", [](std::string_view token) { return token == kSubprotocol; });
  upgrade.headers = std::move(request.headers);
  for (auto& [name, value] : upgrade.headers) value = latin1_as_utf8(value);
  return true;
}

std::string accept_answer(std::string_view key, bool subprotocol) {
  const std::array<char, 20> digest = sha1(std::string(key).append(kGuid));
  std::string answer =
      "HTTP/1.1 101 Switching Protocols\r\n"
      "upgrade: websocket\r\n"
      "connection: Upgrade\r\n"
      "sec-websocket-accept: ";
  answer += base64_encode({digest.data(), digest.size()});
  if (subprotocol) answer.append("\r\nsec-websocket-protocol: ").append(kSubprotocol);
  answer += "\r\n\r\n";
  return answer;
}

}  // namespace polyglot
