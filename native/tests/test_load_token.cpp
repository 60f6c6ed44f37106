// The load generator's hashes and tokens, against the vectors of their standards.
#include <string>
#include <string_view>

#include "check.h"
#include "sha256.h"
#include "token.h"

namespace {

using namespace polyglot::load;

std::string hex(const Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string sha256(std::string_view data) {
  Sha256 hash;
  hash.update(data);
  return hex(hash.finish());
}

std::string base64url(std::string_view data) {
  std::string out;
  append_base64url(out, data);
  return out;
}

}  // namespace

TEST("SHA-256 of FIPS 180-4's examples") {
  CHECK_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQ(sha256(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST("a hash does not depend on the pieces it came in") {
  const std::string data(301, 'x');
  for (std::size_t cut = 0; cut <= data.size(); ++cut) {
    Sha256 hash;
    hash.update(std::string_view(data).substr(0, cut));
    hash.update(std::string_view(data).substr(cut));
    if (hex(hash.finish()) != sha256(data)) CHECK_EQ(cut, data.size() + 1);
  }
}

TEST("HMAC-SHA256 of RFC 4231's cases") {
  CHECK_EQ(hex(HmacSha256(std::string(20, '\x0b')).sign("Hi There")),
           "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK_EQ(hex(HmacSha256("Jefe").sign("what do ya want for nothing?")),
           "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK_EQ(hex(HmacSha256(std::string(131, '\xaa')).sign("Test Using Larger Than Block-Size Key - Hash Key First")),
           "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST("base64url has RFC 4648's letters and no padding") {
  CHECK_EQ(base64url(""), "");
  CHECK_EQ(base64url("f"), "Zg");
  CHECK_EQ(base64url("fo"), "Zm8");
  CHECK_EQ(base64url("foobar"), "Zm9vYmFy");
  CHECK_EQ(base64url("\xfb\xff\xfe"), "-__-");
}

TEST("a token is a head, claims and a signature over both") {
  const TokenSigner signer("a secret of at least thirty-two bytes", "chat-app", ",\"info\":{}");
  const std::string token = signer.sign("u1", "t1", 1'000);
  const std::string signed_part = token.substr(0, token.rfind('.'));
  CHECK_EQ(signed_part, base64url(R"({"alg":"HS256","typ":"JWT"})") + "." +
                            base64url(R"({"sub":"u1","aud":"chat-app","jti":"t1","iat":1000,"exp":4600,"info":{}})"));
  const Digest signature = HmacSha256("a secret of at least thirty-two bytes").sign(signed_part);
  CHECK_EQ(token.substr(token.rfind('.') + 1),
           base64url({reinterpret_cast<const char*>(signature.data()), signature.size()}));
  CHECK(signer.sign("u1", "t2", 1'000) != token);
}
