// A server that sends every message back, over the driver's handshake, FrameReader and frame writer; no other part of
// the driver. For conformance suites such as Autobahn's (tests/conformance), which want an echo; plain blocking calls
// and a thread per connection, as nothing here is to be fast. Prints its port and serves until it is killed.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "phoenix/json_text.h"
#include "websocket/frame_reader.h"
#include "websocket/frame_writer.h"
#include "websocket/handshake.h"

namespace {

using namespace polyglot;

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kMessageBytesMax = 64 * 1024 * 1024;
constexpr std::size_t kHeadBytesMax = 16 * 1024;
constexpr std::uint16_t kInvalidData = 1007;

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// The bytes that followed the head are put into `rest`.
bool shake_hands(int fd, std::string& rest) {
  std::string data;
  char buffer[4096];
  while (head_size(data) == 0) {
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0 || data.size() > kHeadBytesMax) return false;
    data.append(buffer, static_cast<std::size_t>(got));
  }
  const std::size_t size = head_size(data);
  Upgrade upgrade;
  std::string answer;
  const bool sound = read_upgrade(std::string_view(data).substr(0, size), upgrade, answer);
  if (sound) answer = accept_answer(upgrade.key, upgrade.subprotocol);
  rest = data.substr(size);
  return send_all(fd, answer) && sound;
}

// False: `out` ends with a close frame.
bool answer_item(const Received& item, std::string& out) {
  switch (item.kind) {
    case Received::Kind::message:
      if (!item.binary && !is_utf8(item.data)) {
        append_close(out, kInvalidData, "a text is UTF-8");
        return false;
      }
      append_frame(out, item.binary ? Opcode::binary : Opcode::text, item.data);
      return true;
    case Received::Kind::ping:
      append_frame(out, Opcode::pong, item.data);
      return true;
    case Received::Kind::pong:
      return true;
    case Received::Kind::close:
    case Received::Kind::fault:
      append_close(out, item.code, item.data);
      return false;
  }
  return false;
}

void echo(int fd, std::string rest) {
  FrameReader reader(kMessageBytesMax);
  std::vector<char> buffer(rest.begin(), rest.end());
  std::size_t size = buffer.size();
  buffer.resize(std::max(size, kReadBytes));
  while (true) {
    reader.feed(buffer.data(), size);
    Received item;
    std::string out;
    bool open = true;
    while (open && reader.next(item)) open = answer_item(item, out);
    if (!send_all(fd, out)) return;
    if (!open) {
      shutdown(fd, SHUT_WR);
      while (recv(fd, buffer.data(), buffer.size(), 0) > 0) {  // until the peer's end, or its reset would take our word
      }
      return;
    }
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    size = static_cast<std::size_t>(got);
  }
}

void serve(int fd) {
  std::string rest;
  if (shake_hands(fd, rest)) echo(fd, std::move(rest));
  close(fd);
}

}  // namespace

int main() {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const named = reinterpret_cast<sockaddr*>(&address);
  if (bind(listening, named, size) != 0 || listen(listening, 16) != 0 || getsockname(listening, named, &size) != 0) {
    std::perror("listen");
    return 1;
  }
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  while (true) {
    const int fd = accept(listening, nullptr, nullptr);
    if (fd >= 0) std::thread(serve, fd).detach();
  }
}
