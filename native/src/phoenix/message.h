// One Phoenix message: decoded from a client's frame, for both serializers. Reference: polyglotd/protocol/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "phoenix/key_set.h"

namespace polyglot {

class JsonCursor;

enum class Serializer : std::uint8_t { v1, v2 };  // vsn 1.0.0 and 2.0.0

// Views into the frame or into the decoder's scratch: valid until the next decode.
struct Message {
  std::string_view join_ref;  // JSON text: a string, an integer or null
  std::string_view ref;       // the same
  std::string_view topic;     // decoded, UTF-8
  std::string_view event;     // decoded, UTF-8
  std::string_view payload;   // JSON text
};

// The frame is no message: close with this code and reason (fits a close frame; nothing of the client's in it).
struct Fault {
  std::uint16_t code = 0;
  const char* reason = "";
};

enum class Decoded {
  message,
  fault,
  payload_not_json,  // a binary push whose data is no UTF-8 JSON; `message` has the rest, its payload is null
};

class Decoder {
 public:
  Decoded decode_text(Serializer serializer, std::string_view frame, Message& message, Fault& fault);
  Decoded decode_binary(Serializer serializer, std::string_view frame, Message& message, Fault& fault);

 private:
  // What is wrong with the frame, or nullptr.
  const char* read_v1(JsonCursor& cursor, std::size_t frame_size, Message& message);
  const char* read_v2(JsonCursor& cursor, Message& message);

  KeySet keys_;
  std::string topic_;
  std::string event_;
  std::string join_ref_;  // of binary frames, as JSON strings
  std::string ref_;
};

}  // namespace polyglot
