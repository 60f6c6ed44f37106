// JSON Web Tokens signed with HS256 (RFC 7519, RFC 7515): one user's, fresh for every connection.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sha256.h"

namespace polyglot::load {

inline constexpr std::int64_t kTokenLifeS = 3600;

class TokenSigner {
 public:
  // `claims`: more members, as JSON text that follows a comma, or nothing.
  TokenSigner(std::string_view secret, std::string_view app_id, std::string_view claims);
  // Names must need no escape in JSON. `token_id` makes tokens of one user and one second differ, so that no server
  // answers from a cache.
  std::string sign(std::string_view user, std::string_view token_id, std::int64_t issued_s) const;

 private:
  HmacSha256 key_;
  std::string app_id_;
  std::string claims_;
};

void append_base64url(std::string& out, std::string_view data);

}  // namespace polyglot::load
