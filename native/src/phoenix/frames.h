// What the server says in Phoenix, appended to a buffer: always text, byte for byte as the serializers of
// polyglotd/protocol/serializers.py. `topic_json` and `event_json` are JSON strings with their quotes, so that a topic
// encodes its name once.
#pragma once

#include <string>
#include <string_view>

#include "phoenix/message.h"

namespace polyglot {

void append_reply(std::string& out, Serializer serializer, std::string_view join_ref, std::string_view ref,
                  std::string_view topic_json, bool ok, std::string_view response);
void append_push(std::string& out, Serializer serializer, std::string_view join_ref, std::string_view topic_json,
                 std::string_view event_json, std::string_view payload);
void append_broadcast(std::string& out, Serializer serializer, std::string_view topic_json, std::string_view event_json,
                      std::string_view payload);
// `event_json`: "phx_close" or "phx_error" with quotes.
void append_end(std::string& out, Serializer serializer, std::string_view join_ref, std::string_view topic_json,
                std::string_view event_json);

}  // namespace polyglot
