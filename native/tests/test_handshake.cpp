// Handshakes and heads: a few by hand, and what a reader of a socket relies on. The verdicts are compared with the
// Python plane's, so h11's, in tests/unit/native/test_handshake_against_reference.py.
#include <string>

#include "base/base64.h"
#include "base/sha1.h"
#include "check.h"
#include "websocket/frame_writer.h"
#include "websocket/handshake.h"

namespace {

using namespace polyglot;

const std::string kHead =
    "GET /socket/websocket?token=t%20u&vsn=2.0.0 HTTP/1.1\r\n"
    "Host: localhost:4000\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: phoenix\r\n"
    "X-Name: \xe4\r\n"
    "\r\n";

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::string hex_sha1(std::string_view data) {
  const auto digest = sha1(data);
  return hex({digest.data(), digest.size()});
}

TEST("SHA-1 gives the digests of RFC 3174 and of NIST") {
  CHECK_EQ(hex_sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  CHECK_EQ(hex_sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK_EQ(hex_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
           "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  CHECK_EQ(hex_sha1(std::string(1000000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

TEST("base64 is that of RFC 4648") {
  CHECK_EQ(base64_encode(""), "");
  CHECK_EQ(base64_encode("f"), "Zg==");
  CHECK_EQ(base64_encode("fo"), "Zm8=");
  CHECK_EQ(base64_encode("foo"), "Zm9v");
  CHECK_EQ(base64_encode("\xff\xfe\xfd"), "//79");
  CHECK_EQ(base64_decoded_size("Zm9vYg==").value_or(99), 4u);
  CHECK(!base64_decoded_size("Zg=").has_value());
  CHECK(!base64_decoded_size("Zg==Zg==").has_value());
}

TEST("the accept key is the one of RFC 6455") {
  CHECK_EQ(accept_answer("dGhlIHNhbXBsZSBub25jZQ==", true),
           "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
           "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: phoenix\r\n\r\n");
}

TEST("a sound handshake is taken, its values as UTF-8") {
  Upgrade upgrade;
  std::string answer;
  CHECK(read_upgrade(kHead, upgrade, answer));
  CHECK_EQ(upgrade.query, "token=t%20u&vsn=2.0.0");
  CHECK(upgrade.serializer == Serializer::v2);
  CHECK_EQ(upgrade.key, "dGhlIHNhbXBsZSBub25jZQ==");
  CHECK(upgrade.subprotocol);
  CHECK_EQ(upgrade.headers.size(), 7u);
  CHECK_EQ(upgrade.headers[6].first, "x-name");
  CHECK_EQ(upgrade.headers[6].second, "\xc3\xa4");
}

TEST("a head with any one byte cut off is no handshake") {
  for (std::size_t at = 0; at < kHead.size(); ++at) {
    CHECK_EQ(head_size(std::string_view(kHead).substr(0, at)), 0u);
    Upgrade upgrade;
    std::string answer;
    CHECK(!read_upgrade(std::string_view(kHead).substr(0, at), upgrade, answer));
    CHECK(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  }
  CHECK_EQ(head_size(kHead + "\x81\x80"), kHead.size());
}

TEST("only upgrades of the socket's path are the plane's") {
  CHECK(owner_of(kHead) == Owner::plane);
  CHECK(owner_of("POST /socket/websocket HTTP/1.1\r\nupgrade: websocket\r\n\r\n") == Owner::gateway);
  CHECK(owner_of("GET /health HTTP/1.1\r\nupgrade: websocket\r\n\r\n") == Owner::gateway);
  CHECK(owner_of("GET /socket/websocket HTTP/1.1\r\nhost: x\r\n\r\n") == Owner::gateway);
}

TEST("a frame's head has the shortest length there is") {
  struct Row {
    std::size_t size;
    std::string head;
  };
  const Row rows[] = {
      {0, "8200"}, {125, "827d"}, {126, "827e007e"}, {65535, "827effff"}, {65536, "827f0000000000010000"}};
  for (const Row& row : rows) {
    char head[kFrameHeadBytesMax];
    CHECK_EQ(hex({head, write_frame_head(head, Opcode::binary, row.size)}), row.head);
  }
}

}  // namespace
