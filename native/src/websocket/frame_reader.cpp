#include "websocket/frame_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "phoenix/json_text.h"
#include "websocket/frame_head.h"
#include "websocket/mask.h"

namespace polyglot {
namespace {

constexpr std::size_t kControlBytesMax = 125;  // 5.5

// 7.4.1, and 1012 to 1014 of IANA; 7.4.2: libraries' and private ones.
bool is_receivable(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code < 5000);
}

std::uint32_t bounded(std::size_t bytes) {
  return static_cast<std::uint32_t>(std::min<std::size_t>(bytes, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

// A payload is unmasked as it comes: that of a message goes to the end of `message`, where fragments meet; that of a
// control frame, which may come between two fragments, to `control`. What a length claims is never reserved.
struct FrameReader::Partial {
  std::string message;
  std::string kept;           // what `data_` points into after `keep`, else empty
  FrameHead head;             // of the frame under way
  std::uint64_t missing = 0;  // of its payload
  bool in_frame = false;      // `head` is whole
  bool in_message = false;    // a message is under way
  bool binary = false;        // that message is
  bool given = false;         // the last item was `message`: it goes with the next call
  std::uint8_t head_bytes_size = 0;
  std::uint8_t control_size = 0;
  std::array<char, kClientHeadBytesMax> head_bytes;
  std::array<char, kControlBytesMax> control;
};

FrameReader::FrameReader(std::size_t message_bytes_max) : message_bytes_max_(bounded(message_bytes_max)) {}
FrameReader::FrameReader(FrameReader&& other) noexcept = default;
FrameReader& FrameReader::operator=(FrameReader&& other) noexcept = default;
FrameReader::~FrameReader() = default;

void FrameReader::set_message_bytes_max(std::size_t bytes) { message_bytes_max_ = bounded(bytes); }

void FrameReader::feed(char* data, std::size_t size) {
  data_ = data;
  size_ = size;
}

bool FrameReader::next(Received& received) {
  if (over_) {
    partial_.reset();
    return false;
  }
  if (partial_ && partial_->given) {
    std::string().swap(partial_->message);  // its room too: a long message is no reason to hold it for a short one
    partial_->given = false;
  }
  while (true) {
    const Step step = partial_ && partial_->in_frame ? go_on(received) : begin_frame(received);
    if (step == Step::item) return true;
    if (step == Step::starved) {
      settle();
      return false;
    }
  }
}

void FrameReader::keep() {
  if (size_ == 0 || over_ || (partial_ && !partial_->kept.empty())) return;
  Partial& p = partial();
  p.kept.assign(data_, size_);
  data_ = p.kept.data();
}

std::size_t FrameReader::held_bytes() const {
  const auto heap = [](const std::string& text) {
    return text.capacity() > std::string().capacity() ? text.capacity() + 1 : 0;
  };
  return partial_ ? sizeof(Partial) + heap(partial_->message) + heap(partial_->kept) : 0;
}

// Takes a head; and the payload with it where all of it is there, which is then never copied unless it is a fragment.
FrameReader::Step FrameReader::begin_frame(Received& received) {
  FrameHead head;
  std::size_t length = 0;
  std::string_view reason;
  HeadRead read;
  if (!partial_ || partial_->head_bytes_size == 0) {
    read = read_head({data_, size_}, head, length, reason);
    if (read == HeadRead::more && size_ > 0) {
      Partial& p = partial();
      std::memcpy(p.head_bytes.data(), data_, size_);
      p.head_bytes_size = static_cast<std::uint8_t>(size_);
      advance(size_);
    }
  } else {
    Partial& p = *partial_;
    const std::size_t had = p.head_bytes_size;
    const std::size_t more = std::min(kClientHeadBytesMax - had, size_);
    if (more > 0) std::memcpy(p.head_bytes.data() + had, data_, more);
    read = read_head({p.head_bytes.data(), had + more}, head, length, reason);
    if (read == HeadRead::more) {
      p.head_bytes_size = static_cast<std::uint8_t>(had + more);
      advance(more);
    } else {
      p.head_bytes_size = 0;
      length -= std::min(length, had);
    }
  }
  if (read == HeadRead::more) return Step::starved;
  if (read == HeadRead::fault) return give_fault(received, kProtocolError, reason);
  advance(length);

  // Refused from the head alone, before any of the payload is held.
  const bool in_message = partial_ && partial_->in_message;
  if (!is_control(head.opcode)) {
    if ((head.opcode == Opcode::continuation) != in_message) {
      return give_fault(received, kProtocolError, "fragments of one message follow each other (RFC 6455, 5.4)");
    }
    if ((in_message ? partial_->message.size() : 0) + head.size > message_bytes_max_) {
      const std::string most = "a message has at most " + std::to_string(message_bytes_max_) + " bytes";
      return give_fault(received, kTooBig, most);
    }
  }
  if (head.size > size_) {
    Partial& p = partial();
    p.head = head;
    p.missing = head.size;
    p.in_frame = true;
    p.control_size = 0;
    if (!is_control(head.opcode) && !in_message) {
      p.in_message = true;
      p.binary = head.opcode == Opcode::binary;
    }
    return Step::frame;
  }
  const std::string_view payload{data_, static_cast<std::size_t>(head.size)};
  apply_mask(data_, payload.size(), head.mask);
  advance(payload.size());
  if (is_control(head.opcode)) return give_control(received, head, payload);
  if (!head.fin || in_message) return take_fragment(received, head, payload);
  received = {Received::Kind::message, head.opcode == Opcode::binary, 0, payload};
  return Step::item;
}

// Takes more of the payload of a frame whose head was taken before.
FrameReader::Step FrameReader::go_on(Received& received) {
  Partial& p = *partial_;
  const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(p.missing, size_));
  apply_mask(data_, size, p.head.mask, static_cast<std::size_t>((p.head.size - p.missing) % 4));
  if (is_control(p.head.opcode)) {
    if (size > 0) std::memcpy(p.control.data() + p.control_size, data_, size);
    p.control_size = static_cast<std::uint8_t>(p.control_size + size);
  } else {
    p.message.append(data_, size);
  }
  p.missing -= size;
  advance(size);
  if (p.missing > 0) return Step::starved;
  p.in_frame = false;
  if (is_control(p.head.opcode)) return give_control(received, p.head, {p.control.data(), p.control_size});
  return p.head.fin ? finish_message(received) : Step::frame;
}

FrameReader::Step FrameReader::take_fragment(Received& received, const FrameHead& head, std::string_view payload) {
  Partial& p = partial();
  if (!p.in_message) {
    p.in_message = true;
    p.binary = head.opcode == Opcode::binary;
  }
  p.message.append(payload);
  return head.fin ? finish_message(received) : Step::frame;
}

FrameReader::Step FrameReader::finish_message(Received& received) {
  Partial& p = *partial_;
  p.in_message = false;
  p.given = true;
  received = {Received::Kind::message, p.binary, 0, p.message};
  return Step::item;
}

FrameReader::Step FrameReader::give_control(Received& received, const FrameHead& head, std::string_view payload) {
  if (head.opcode == Opcode::close) return give_close(received, payload);
  const bool ping = head.opcode == Opcode::ping;
  received = {ping ? Received::Kind::ping : Received::Kind::pong, false, 0, payload};
  return Step::item;
}

FrameReader::Step FrameReader::give_close(Received& received, std::string_view payload) {
  received = {Received::Kind::close, false, kNoStatus, {}};
  if (payload.size() == 1) {
    return give_fault(received, kProtocolError, "a close code has two bytes (RFC 6455, 5.5.1)");
  }
  if (!payload.empty()) {
    const unsigned high = static_cast<unsigned char>(payload[0]);
    const unsigned code = high << 8 | static_cast<unsigned char>(payload[1]);
    if (!is_receivable(code)) return give_fault(received, kProtocolError, "not a close code (RFC 6455, 7.4)");
    received.code = static_cast<std::uint16_t>(code);
    received.data = payload.substr(2);
    if (!is_utf8(received.data)) {
      return give_fault(received, kInvalidData, "a close reason is UTF-8 (RFC 6455, 5.5.1)");
    }
  }
  over_ = true;
  return Step::item;
}

FrameReader::Step FrameReader::give_fault(Received& received, std::uint16_t code, std::string_view reason) {
  Partial& p = partial();
  std::string().swap(p.kept);
  p.message = reason;  // not every reason is a literal
  received = {Received::Kind::fault, false, code, p.message};
  over_ = true;
  data_ = nullptr;
  size_ = 0;
  return Step::item;
}

FrameReader::Partial& FrameReader::partial() {
  if (!partial_) partial_ = std::make_unique<Partial>();
  return *partial_;
}

void FrameReader::advance(std::size_t size) {
  data_ += size;
  size_ -= size;
}

// All that was fed is taken: let go of what is not needed to go on.
void FrameReader::settle() {
  data_ = nullptr;
  if (!partial_) return;
  std::string().swap(partial_->kept);
  if (!partial_->in_frame && !partial_->in_message && partial_->head_bytes_size == 0) partial_.reset();
}

}  // namespace polyglot
