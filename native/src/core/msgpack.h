// Just enough msgpack for records up and commands down: what msgspec writes and reads for tagged arrays.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace polyglot {

class MsgpackWriter {
 public:
  explicit MsgpackWriter(std::string& out) : out_(out) {}

  void nil() { byte(0xc0); }
  void boolean(bool value) { byte(value ? 0xc3 : 0xc2); }
  void integer(std::uint64_t value) {
    if (value < 128) {
      byte(static_cast<std::uint8_t>(value));
    } else if (value <= 0xffff) {
      byte(0xcd);
      big<std::uint16_t>(static_cast<std::uint16_t>(value));
    } else if (value <= 0xffffffff) {
      byte(0xce);
      big<std::uint32_t>(static_cast<std::uint32_t>(value));
    } else {
      byte(0xcf);
      big<std::uint64_t>(value);
    }
  }
  void text(std::string_view value) {
    const std::size_t size = value.size();
    if (size < 32) {
      byte(static_cast<std::uint8_t>(0xa0 | size));
    } else if (size < 256) {
      byte(0xd9);
      byte(static_cast<std::uint8_t>(size));
    } else if (size < 65536) {
      byte(0xda);
      big<std::uint16_t>(static_cast<std::uint16_t>(size));
    } else {
      byte(0xdb);
      big<std::uint32_t>(static_cast<std::uint32_t>(size));
    }
    out_.append(value);
  }
  void binary(std::string_view value) {
    const std::size_t size = value.size();
    if (size < 256) {
      byte(0xc4);
      byte(static_cast<std::uint8_t>(size));
    } else if (size < 65536) {
      byte(0xc5);
      big<std::uint16_t>(static_cast<std::uint16_t>(size));
    } else {
      byte(0xc6);
      big<std::uint32_t>(static_cast<std::uint32_t>(size));
    }
    out_.append(value);
  }
  void array(std::size_t size) {
    if (size < 16) {
      byte(static_cast<std::uint8_t>(0x90 | size));
    } else if (size < 65536) {
      byte(0xdc);
      big<std::uint16_t>(static_cast<std::uint16_t>(size));
    } else {
      byte(0xdd);
      big<std::uint32_t>(static_cast<std::uint32_t>(size));
    }
  }
  void map(std::size_t size) {
    byte(0xdf);
    big<std::uint32_t>(static_cast<std::uint32_t>(size));
  }

 private:
  void byte(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  template <typename T>
  void big(T value) {
    char bytes[sizeof(T)];
    for (std::size_t at = 0; at < sizeof(T); ++at) {
      bytes[at] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - at)));
    }
    out_.append(bytes, sizeof(T));
  }
  std::string& out_;
};

// What is not as expected. Caught where a batch is taken in; nothing of the batch is carried out.
struct MsgpackError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class MsgpackReader {
 public:
  explicit MsgpackReader(std::string_view data) : data_(data) {}

  bool at_end() const { return at_ == data_.size(); }
  std::size_t position() const { return at_; }

  bool take_nil() {
    if (peek() != 0xc0) return false;
    ++at_;
    return true;
  }
  bool boolean() {
    const std::uint8_t head = byte();
    if (head != 0xc2 && head != 0xc3) throw MsgpackError("a boolean was expected");
    return head == 0xc3;
  }
  std::int64_t integer() {
    const std::uint8_t head = byte();
    if (head < 0x80) return head;
    if (head >= 0xe0) return static_cast<std::int8_t>(head);
    switch (head) {
      case 0xcc:
        return big<std::uint8_t>();
      case 0xcd:
        return big<std::uint16_t>();
      case 0xce:
        return big<std::uint32_t>();
      case 0xcf:
        return static_cast<std::int64_t>(big<std::uint64_t>());
      case 0xd0:
        return static_cast<std::int8_t>(big<std::uint8_t>());
      case 0xd1:
        return static_cast<std::int16_t>(big<std::uint16_t>());
      case 0xd2:
        return static_cast<std::int32_t>(big<std::uint32_t>());
      case 0xd3:
        return static_cast<std::int64_t>(big<std::uint64_t>());
      default:
        throw MsgpackError("an integer was expected");
    }
  }
  std::uint64_t natural() { return static_cast<std::uint64_t>(integer()); }
  double number() {
    const std::uint8_t head = peek();
    if (head == 0xcb) {
      ++at_;
      const std::uint64_t bits = big<std::uint64_t>();
      double value = 0;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    return static_cast<double>(integer());
  }
  std::string_view text() { return bytes_of(text_size()); }
  std::string_view binary() {
    switch (byte()) {
      case 0xc4:
        return bytes_of(big<std::uint8_t>());
      case 0xc5:
        return bytes_of(big<std::uint16_t>());
      case 0xc6:
        return bytes_of(big<std::uint32_t>());
      default:
        throw MsgpackError("bytes were expected");
    }
  }
  std::string_view optional_text() { return take_nil() ? std::string_view{} : text(); }
  std::size_t array() {
    const std::uint8_t head = byte();
    if ((head & 0xf0) == 0x90) return head & 0x0f;
    if (head == 0xdc) return big<std::uint16_t>();
    if (head == 0xdd) return big<std::uint32_t>();
    throw MsgpackError("an array was expected");
  }
  void array(std::size_t size) {
    if (array() != size) throw MsgpackError("an array of another size was expected");
  }
  std::size_t map() {
    const std::uint8_t head = byte();
    if ((head & 0xf0) == 0x80) return head & 0x0f;
    if (head == 0xde) return big<std::uint16_t>();
    if (head == 0xdf) return big<std::uint32_t>();
    throw MsgpackError("a map was expected");
  }
  void skip(int depth = 0) {
    if (depth > 32) throw MsgpackError("nested too deeply");
    const std::uint8_t head = peek();
    if (head < 0x80 || head >= 0xe0 || (head >= 0xcc && head <= 0xd3)) {
      integer();
    } else if (head == 0xcb) {
      number();
    } else if (head == 0xc0 || head == 0xc2 || head == 0xc3) {
      ++at_;
    } else if (head >= 0xc4 && head <= 0xc6) {
      binary();
    } else if ((head & 0xe0) == 0xa0 || (head >= 0xd9 && head <= 0xdb)) {
      text();
    } else if ((head & 0xf0) == 0x90 || head == 0xdc || head == 0xdd) {
      for (std::size_t left = array(); left > 0; --left) skip(depth + 1);
    } else if ((head & 0xf0) == 0x80 || head == 0xde || head == 0xdf) {
      for (std::size_t left = map(); left > 0; --left) {
        skip(depth + 1);
        skip(depth + 1);
      }
    } else {
      throw MsgpackError("an unknown type");
    }
  }

 private:
  std::uint8_t peek() const {
    if (at_ >= data_.size()) throw MsgpackError("cut short");
    return static_cast<std::uint8_t>(data_[at_]);
  }
  std::uint8_t byte() {
    const std::uint8_t value = peek();
    ++at_;
    return value;
  }
  template <typename T>
  T big() {
    if (data_.size() - at_ < sizeof(T)) throw MsgpackError("cut short");
    T value = 0;
    for (std::size_t left = sizeof(T); left > 0; --left) {
      value = static_cast<T>((sizeof(T) > 1 ? static_cast<std::uint64_t>(value) << 8 : 0) |
                             static_cast<std::uint8_t>(data_[at_++]));
    }
    return value;
  }
  std::size_t text_size() {
    const std::uint8_t head = byte();
    if ((head & 0xe0) == 0xa0) return head & 0x1f;
    if (head == 0xd9) return big<std::uint8_t>();
    if (head == 0xda) return big<std::uint16_t>();
    if (head == 0xdb) return big<std::uint32_t>();
    throw MsgpackError("a text was expected");
  }
  std::string_view bytes_of(std::size_t size) {
    if (data_.size() - at_ < size) throw MsgpackError("cut short");
    const std::string_view found = data_.substr(at_, size);
    at_ += size;
    return found;
  }
  std::string_view data_;
  std::size_t at_ = 0;
};

}  // namespace polyglot
