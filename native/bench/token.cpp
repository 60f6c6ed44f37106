#include "token.h"

namespace polyglot::load {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

}  // namespace

void append_base64url(std::string& out, std::string_view data) {
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const char c : data) {
    bits = bits << 8 | static_cast<std::uint8_t>(c);
    held += 8;
    while (held >= 6) {
      held -= 6;
      out += kAlphabet[bits >> held & 63];
    }
  }
  if (held > 0) out += kAlphabet[bits << (6 - held) & 63];
}

TokenSigner::TokenSigner(std::string_view secret, std::string_view app_id, std::string_view claims)
    : key_(secret), app_id_(app_id), claims_(claims) {}

std::string TokenSigner::sign(std::string_view user, std::string_view token_id, std::int64_t issued_s) const {
  std::string claims = "{\"sub\":\"";
  claims.append(user).append("\",\"aud\":\"").append(app_id_).append("\",\"jti\":\"").append(token_id);
  claims.append("\",\"iat\":").append(std::to_string(issued_s));
  claims.append(",\"exp\":").append(std::to_string(issued_s + kTokenLifeS)).append(claims_).append("}");
  std::string token;
  append_base64url(token, R"({"alg":"HS256","typ":"JWT"})");
  token += '.';
  append_base64url(token, claims);
  const Digest signature = key_.sign(token);
  token += '.';
  append_base64url(token, {reinterpret_cast<const char*>(signature.data()), signature.size()});
  return token;
}

}  // namespace polyglot::load
