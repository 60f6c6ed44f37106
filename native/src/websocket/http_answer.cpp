// Whole HTTP responses that end a connection (handshake.h).
#include "phoenix/json_text.h"
#include "websocket/handshake.h"

namespace polyglot {
namespace {

struct Phrase {
  int status;
  std::string_view phrase;
};

// RFC 9110 and IANA's registry, in the words of Python's `http.HTTPStatus`.
constexpr Phrase kPhrases[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Request Entity Too Large"},
    {414, "Request-URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Requested Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {418, "I'm a Teapot"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Entity"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {510, "Not Extended"},
    {511, "Network Authentication Required"},
};

std::string_view phrase(int status) {
  for (const Phrase& known : kPhrases) {
    if (known.status == status) return known.phrase;
  }
  return {};
}

// A head is latin-1. What that has no character for is a question mark.
void append_latin1(std::string& out, std::string_view utf8) {
  for (std::size_t at = 0; at < utf8.size(); ++at) {
    const unsigned first = static_cast<unsigned char>(utf8[at]);
    if (first < 0x80) {
      out += utf8[at];
    } else if ((first == 0xC2 || first == 0xC3) && at + 1 < utf8.size()) {
      out += static_cast<char>((first & 3u) << 6 | (static_cast<unsigned char>(utf8[++at]) & 0x3Fu));
    } else if (first >= 0xC0) {
      out += '?';
    }
  }
}

}  // namespace

std::string http_answer(int status, const std::vector<std::pair<std::string, std::string>>& headers,
                        std::string_view body) {
  std::string answer = "HTTP/1.1 " + std::to_string(status) + " ";
  answer += phrase(status);
  answer += "\r\n";
  for (const auto& [name, value] : headers) {
    append_latin1(answer, name);
    answer += ": ";
    append_latin1(answer, value);
    answer += "\r\n";
  }
  answer += "content-length: " + std::to_string(body.size()) + "\r\nconnection: close\r\n\r\n";
  answer += body;
  return answer;
}

std::string problem_answer(int status, std::string_view code, std::string_view detail, std::string_view field,
                           long retry_after_ms, const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string body = R"({"type":"about:blank","title":)";
  append_json_string(body, phrase(status));
  body += ",\"status\":" + std::to_string(status) + ",\"detail\":";
  append_json_string(body, detail);
  body += ",\"code\":";
  append_json_string(body, code);
  if (!field.empty()) {
    body += ",\"field\":";
    append_json_string(body, field);
  }
  if (retry_after_ms >= 0) body += ",\"retry_after_ms\":" + std::to_string(retry_after_ms);
  body += '}';
  std::vector<std::pair<std::string, std::string>> all{{"content-type", "application/problem+json"}};
  all.insert(all.end(), headers.begin(), headers.end());
  return http_answer(status, all, body);
}

}  // namespace polyglot
