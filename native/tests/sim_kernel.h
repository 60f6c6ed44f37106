// A kernel whose seed decides what Linux leaves open: how much a read or write moves, when a full buffer says EAGAIN, in
// which order descriptors are ready, when `accept` fails, how far time jumps. Called by a `Loop` under test on one side
// and by simulated clients on the other. Misuse that Linux would forgive or punish late (a descriptor closed twice or
// used after its close) is kept in `misuse`.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/kernel.h"
#include "dice.h"

namespace check {

class SimKernel final : public polyglot::Kernel {
 public:
  // The two ends of one connection. The client's is held by the client, however long the server's is gone.
  struct Socket {
    std::string to_server;
    std::string to_client;
    std::size_t room = 0;  // bytes that the server may have on their way
    std::size_t low_water = 1;
    bool client_ended = false;  // it sends no more
    bool reset = false;  // by the client
    bool server_ended = false;  // it sends no more
    bool server_closed = false;
  };
  static constexpr int kListener = 3;

  explicit SimKernel(std::uint64_t seed) : dice_(seed) {}

  // --- the client's side
  std::shared_ptr<Socket> connect() {
    auto socket = std::make_shared<Socket>();
    socket->room = std::size_t{1} << (9 + dice_.below(9));
    backlog_.push_back(socket);
    return socket;
  }
  void signal(std::uint64_t tag) { signals_.push_back(tag); }
  void no_descriptors(bool out) { out_of_descriptors_ = out; }
  void take_over(int fd) { close(fd); }  // a handed-off descriptor, by its new owner
  void calm() { calm_ = true; }  // nothing goes wrong from now on
  void pass(std::int64_t us) {
    steady_ += us;
    wall_ += us;
  }
  std::size_t open_descriptors() const { return open_.size(); }
  bool listening() const { return listening_; }
  std::string misuse;

  // --- the loop's side
  std::int64_t wall_us() override { return wall_; }
  std::int64_t steady_us() override { return steady_ += static_cast<std::int64_t>(dice_.below(3)); }

  int wait(polyglot::Ready* ready, int timeout_ms) override {
    int count = 0;
    for (const std::uint64_t tag : signals_) ready[count++] = {tag, true, false, false, false};
    signals_.clear();
    std::vector<polyglot::Ready> found;
    if (listening_ && listener_read_ && !backlog_.empty()) found.push_back({listener_tag_, true, false, false, false});
    for (auto& [fd, entry] : open_) {
      if (!entry.watched) continue;
      const Socket& socket = *entry.socket;
      polyglot::Ready one{entry.tag, false, false, false, socket.reset};
      const bool ended = socket.client_ended || socket.reset;
      one.readable = entry.read && (ended || socket.to_server.size() >= socket.low_water);
      one.writable = entry.write && (socket.reset || socket.to_client.size() < socket.room);
      one.hung_up = entry.hang_up && ended;
      if (one.readable || one.writable || one.hung_up || one.broken) found.push_back(one);
    }
    for (std::size_t at = found.size(); !calm_ && at > 1; --at) std::swap(found[at - 1], found[dice_.below(at)]);
    if (!calm_ && dice_.one_in(4)) found.resize(dice_.below(found.size() + 1));
    for (const polyglot::Ready& one : found) {
      if (count < kReadyMax) ready[count++] = one;
    }
    advance(count == 0 ? timeout_ms : 0);
    return count;
  }

  void watch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) override {
    if (fd == kListener) {
      listening_ = listener_read_ = true;
      listener_tag_ = tag;
      return;
    }
    if (Entry* entry = find(fd, "watch")) {
      if (entry->watched) misuse = "a descriptor is watched twice";
      if (!calm_ && dice_.one_in(100)) throw std::system_error(ENOMEM, std::generic_category(), "epoll_ctl");
      *entry = Entry{entry->socket, tag, true, read, write, hang_up};
    }
  }
  void rewatch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) override {
    if (fd == kListener) {
      listener_read_ = read;
      return;
    }
    if (Entry* entry = find(fd, "rewatch")) {
      if (!entry->watched) misuse = "a descriptor is rewatched that was not watched";
      *entry = Entry{entry->socket, tag, true, read, write, hang_up};
    }
  }
  void unwatch(int fd) override {
    if (fd == kListener) return;
    if (Entry* entry = find(fd, "unwatch")) entry->watched = false;
  }

  int accept(int, std::string& address) override {
    if (out_of_descriptors_) return failed(EMFILE);
    if (backlog_.empty()) return failed(EAGAIN);
    if (!calm_ && dice_.one_in(16)) return failed(dice_.one_in(2) ? ECONNABORTED : EMFILE);
    int fd = kListener + 1;  // the lowest that is free, as in Linux: what still uses a closed one hits another's
    while (open_.contains(fd)) ++fd;
    open_[fd] = Entry{backlog_.front(), 0, false, false, false, false};
    backlog_.pop_front();
    address = "192.0.2.1";
    return fd;
  }
  std::int64_t peek(int fd, char* data, std::size_t size) override { return move(fd, data, size, false); }
  std::int64_t read(int fd, char* data, std::size_t size) override { return move(fd, data, size, true); }
  std::int64_t write(int fd, const iovec* pieces, int count) override {
    Entry* entry = find(fd, "write");
    if (entry == nullptr) return failed(EBADF);
    Socket& socket = *entry->socket;
    if (socket.server_ended) misuse = "written to after the end was said";
    if (socket.reset) return failed(dice_.one_in(2) ? ECONNRESET : EPIPE);
    std::size_t room = socket.room - std::min(socket.room, socket.to_client.size());
    if (room == 0 || (!calm_ && dice_.one_in(10))) return failed(EAGAIN);
    if (!calm_ && dice_.one_in(3)) room = 1 + dice_.below(room);
    std::size_t taken = 0;
    for (int at = 0; at < count && taken < room; ++at) {
      const std::size_t size = std::min(pieces[at].iov_len, room - taken);
      socket.to_client.append(static_cast<const char*>(pieces[at].iov_base), size);
      taken += size;
    }
    return static_cast<std::int64_t>(taken);
  }
  void shut_write(int fd) override {
    if (Entry* entry = find(fd, "shut_write")) entry->socket->server_ended = true;
  }
  void close(int fd) override {
    if (fd == kListener) {
      listening_ = false;
      return;
    }
    if (Entry* entry = find(fd, "close")) {
      entry->socket->server_closed = entry->socket->server_ended = true;
      open_.erase(fd);
    }
  }
  void low_water(int fd, int bytes) override {
    if (Entry* entry = find(fd, "low_water")) entry->socket->low_water = static_cast<std::size_t>(bytes);
  }
  void tune(int fd, int) override { find(fd, "tune"); }

 private:
  struct Entry {
    std::shared_ptr<Socket> socket;
    std::uint64_t tag = 0;
    bool watched = false;
    bool read = false;
    bool write = false;
    bool hang_up = false;
  };

  static int failed(int error) {
    errno = error;
    return -1;
  }
  Entry* find(int fd, const char* call) {
    const auto found = open_.find(fd);
    if (found != open_.end()) return &found->second;
    misuse = std::string(call) + " of descriptor " + std::to_string(fd) + ", which is not open";
    return nullptr;
  }
  std::int64_t move(int fd, char* data, std::size_t size, bool take) {
    Entry* entry = find(fd, "read");
    if (entry == nullptr) return failed(EBADF);
    Socket& socket = *entry->socket;
    if (socket.reset) return failed(ECONNRESET);
    if (socket.to_server.empty()) return socket.client_ended ? 0 : failed(EAGAIN);
    std::size_t count = std::min(size, socket.to_server.size());
    if (take && !calm_ && dice_.one_in(3)) count = 1 + dice_.below(count);
    std::memcpy(data, socket.to_server.data(), count);
    if (take) socket.to_server.erase(0, count);
    return static_cast<std::int64_t>(count);
  }
  void advance(int timeout_ms) {
    std::int64_t us = static_cast<std::int64_t>(dice_.below(2'000)) + std::int64_t{timeout_ms} * 1000;
    if (!calm_ && dice_.one_in(40)) us += static_cast<std::int64_t>(dice_.below(3'000'000));  // a busy machine
    if (!calm_ && dice_.one_in(400)) us += static_cast<std::int64_t>(dice_.below(90'000'000));  // a suspended one
    pass(us);
    if (!calm_ && dice_.one_in(60)) wall_ += static_cast<std::int64_t>(dice_.below(4'000'000)) - 2'000'000;
  }

  Dice dice_;
  std::map<int, Entry> open_;
  std::deque<std::shared_ptr<Socket>> backlog_;
  std::vector<std::uint64_t> signals_;
  std::uint64_t listener_tag_ = 0;
  std::int64_t steady_ = 1'000'000'000;
  std::int64_t wall_ = 1'750'000'000'000'000;
  bool listening_ = false;
  bool listener_read_ = false;
  bool out_of_descriptors_ = false;
  bool calm_ = false;
};

}  // namespace check
