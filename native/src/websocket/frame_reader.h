// RFC 6455 framing, the server's side, without I/O: bytes in, whole messages and control frames out. The rules, close
// codes and words are those of polyglotd/plane/asgi/websocket.py, which is the reference. Called by a connection with
// what its socket gave. Not here: the opening handshake, and whether a text is UTF-8, which the decoder of messages
// checks with the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace polyglot {

struct FrameHead;

struct Received {
  enum class Kind : std::uint8_t { message, ping, pong, close, fault };
  Kind kind = Kind::message;
  bool binary = false;
  std::uint16_t code = 0;     // close and fault
  std::string_view data;      // message, ping, pong: payload; close, fault: reason
};

// One connection's incoming bytes. Small while nothing is half received: an idle connection holds no buffer.
class FrameReader {
 public:
  explicit FrameReader(std::size_t message_bytes_max);
  FrameReader(FrameReader&& other) noexcept;
  FrameReader& operator=(FrameReader&& other) noexcept;
  ~FrameReader();

  void set_message_bytes_max(std::size_t bytes);  // holds for the frames that follow

  // Gives the reader bytes; they are unmasked in place and must stay where they are until `next` returned false, or
  // until `keep`. Only when `next` returned false for those before.
  void feed(char* data, std::size_t size);
  // The next whole item; its views are valid until the next call. False: more bytes are needed, what is left over was
  // copied. A close or a fault is the last item there will ever be.
  bool next(Received& received);
  // Copies what was fed and not taken yet, so that its place may be used for other things; `next` goes on with the
  // copy. For a connection that is held back between two items. Ends the views of the last item.
  void keep();
  bool is_over() const { return over_; }
  std::size_t held_bytes() const;  // memory held for what is half received, or kept

 private:
  struct Partial;  // what is half received

  enum class Step { item, frame, starved };

  Step begin_frame(Received& received);
  Step go_on(Received& received);
  Step take_fragment(Received& received, const FrameHead& head, std::string_view payload);
  Step finish_message(Received& received);
  Step give_control(Received& received, const FrameHead& head, std::string_view payload);
  Step give_close(Received& received, std::string_view payload);
  Step give_fault(Received& received, std::uint16_t code, std::string_view reason);
  Partial& partial();
  void advance(std::size_t size);
  void settle();

  std::unique_ptr<Partial> partial_;  // none while nothing is
  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint32_t message_bytes_max_;
  bool over_ = false;
};

static_assert(sizeof(FrameReader) <= 40, "each connection has one");

}  // namespace polyglot
