// The floor under the figures: what epoll and the kernel cost when a server does nothing else. Started by
// bench/peers.py as a program of its own: `floor FRAME_BYTES`; it prints the port that it listens on.
//
// `GET /…?room=N` joins room N; of every message only the stamp is looked at, and goes to all members of the room in a
// frame of FRAME_BYTES that is there already. Everything read in one turn of the loop goes to a member in one write.
// `GET /echo…` sends every message back. Trusts its clients: no limits, no checks, no control frames.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kStampBytes = 29;  // stamp.h

struct Member {
  int fd = -1;
  bool joined = false;
  bool echoes = false;
  bool waits_for_room = false;
  struct Room* room = nullptr;
  std::string in;   // what has not wholly come
  std::string out;  // what the kernel did not take
};

struct Room {
  std::vector<Member*> members;
  std::string turn;  // frames of this turn
};

int epoll_fd;
std::map<unsigned long, Room> rooms;
std::vector<Room*> spoken_in;  // in this turn
std::string frame_head;  // before the stamp
std::string frame_rest;  // after it

void append_head(std::string& out, std::size_t size) {
  out += '\x81';
  if (size > 125) {
    out += '\x7e';
    out += static_cast<char>(size >> 8);
  }
  out += static_cast<char>(size);
}

void watch(Member& member, int operation, bool for_room) {
  epoll_event event{};
  event.events = for_room ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.ptr = &member;
  epoll_ctl(epoll_fd, operation, member.fd, &event);
  member.waits_for_room = for_room;
}

void send_all(Member& member, std::string_view data) {
  if (member.out.empty()) {
    const ssize_t sent = send(member.fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent > 0) data.remove_prefix(static_cast<std::size_t>(sent));
  }
  member.out.append(data);
  if (member.waits_for_room == member.out.empty()) watch(member, EPOLL_CTL_MOD, !member.out.empty());
}

bool upgrade(Member& member) {
  if (!member.in.ends_with("\r\n\r\n")) return false;
  member.echoes = member.in.starts_with("GET /echo");
  const std::size_t at = member.in.find("room=");
  member.room = &rooms[at == std::string::npos ? 0 : std::strtoul(member.in.c_str() + at + 5, nullptr, 10)];
  member.room->members.push_back(&member);
  member.joined = true;
  member.in.clear();
  send_all(member,
           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");  // to the generator's one key
  return true;
}

// Unmasks the first `size` bytes of a message.
void append_unmasked(std::string& out, const char* mask, const char* data, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) out += static_cast<char>(data[i] ^ mask[i % 4]);
}

void take_messages(Member& member) {
  std::string_view in = member.in;
  std::string echoed;
  while (in.size() >= 6) {
    std::size_t head = 6, size = static_cast<std::uint8_t>(in[1]) & 0x7f;
    if (size == 126) {
      head = 8;
      size = static_cast<std::size_t>(static_cast<std::uint8_t>(in[2]) << 8 | static_cast<std::uint8_t>(in[3]));
    }
    if (in.size() < head + size) break;
    const char* mask = in.data() + head - 4;
    if (member.echoes) {
      append_head(echoed, size);
      append_unmasked(echoed, mask, mask + 4, size);
    } else if ((in[0] & 0x0f) == 1) {
      std::string& turn = member.room->turn;
      if (turn.empty()) spoken_in.push_back(member.room);
      turn.append(frame_head);
      append_unmasked(turn, mask, mask + 4, std::min(size, kStampBytes));
      turn.append(frame_rest);
    }
    in.remove_prefix(head + size);
  }
  member.in.erase(0, member.in.size() - in.size());
  if (!echoed.empty()) send_all(member, echoed);
}

void leave(Member& member) {
  close(member.fd);
  member.fd = -1;
  if (member.room != nullptr) std::erase(member.room->members, &member);
}

void read(Member& member) {
  static char buffer[256 * 1024];
  const ssize_t size = recv(member.fd, buffer, sizeof buffer, 0);
  if (size <= 0) return leave(member);
  member.in.append(buffer, static_cast<std::size_t>(size));
  if (!member.joined && !upgrade(member)) return;
  take_messages(member);
}

int listen_on_loopback() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 4096) != 0) std::exit(1);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  std::printf("listening %d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t frame_bytes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 260;
  append_head(frame_head, frame_bytes);
  frame_rest.assign(frame_bytes - kStampBytes, 'x');
  const rlimit all{1u << 20, 1u << 20};
  setrlimit(RLIMIT_NOFILE, &all);
  epoll_fd = epoll_create1(0);
  Member listener;
  listener.fd = listen_on_loopback();
  watch(listener, EPOLL_CTL_ADD, false);
  for (epoll_event events[512];;) {
    const int count = epoll_wait(epoll_fd, events, 512, -1);
    for (int i = 0; i < count; ++i) {
      Member& member = *static_cast<Member*>(events[i].data.ptr);
      if (&member == &listener) {
        const int fd = accept4(listener.fd, nullptr, nullptr, SOCK_NONBLOCK);
        if (fd < 0) continue;
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        auto* accepted = new Member;  // lives as long as the program: a benchmark's is short
        accepted->fd = fd;
        watch(*accepted, EPOLL_CTL_ADD, false);
        continue;
      }
      if ((events[i].events & EPOLLOUT) != 0) {
        std::string waiting;
        waiting.swap(member.out);
        send_all(member, waiting);
      }
      if ((events[i].events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) read(member);
    }
    for (Room* room : spoken_in) {
      for (Member* member : room->members) send_all(*member, room->turn);
      room->turn.clear();
    }
    spoken_in.clear();
  }
}
