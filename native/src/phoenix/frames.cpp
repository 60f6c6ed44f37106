// See frames.h.
#include "phoenix/frames.h"

#include <initializer_list>

namespace polyglot {

namespace {

void append(std::string& out, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) out.append(part);
}

}  // namespace

void append_reply(std::string& out, Serializer serializer, std::string_view join_ref, std::string_view ref,
                  std::string_view topic_json, bool ok, std::string_view response) {
  const std::string_view status = ok ? "ok" : "error";
  if (serializer == Serializer::v1) {
    append(out, {R"({"topic":)", topic_json, R"(,"event":"phx_reply","payload":{"status":")", status,
                 R"(","response":)", response, R"(},"ref":)", ref, "}"});
  } else {
    append(out, {"[", join_ref, ",", ref, ",", topic_json, R"(,"phx_reply",{"status":")", status, R"(","response":)",
                 response, "}]"});
  }
}

void append_push(std::string& out, Serializer serializer, std::string_view join_ref, std::string_view topic_json,
                 std::string_view event_json, std::string_view payload) {
  if (serializer == Serializer::v1) {
    append(out, {R"({"topic":)", topic_json, R"(,"event":)", event_json, R"(,"payload":)", payload, R"(,"ref":null})"});
  } else {
    append(out, {"[", join_ref, ",null,", topic_json, ",", event_json, ",", payload, "]"});
  }
}

void append_broadcast(std::string& out, Serializer serializer, std::string_view topic_json, std::string_view event_json,
                      std::string_view payload) {
  append_push(out, serializer, "null", topic_json, event_json, payload);
}

void append_end(std::string& out, Serializer serializer, std::string_view join_ref, std::string_view topic_json,
                std::string_view event_json) {
  if (serializer == Serializer::v1) {
    append(out, {R"({"topic":)", topic_json, R"(,"event":)", event_json, R"(,"payload":{},"ref":)", join_ref, "}"});
  } else {
    append(out, {"[", join_ref, ",", join_ref, ",", topic_json, ",", event_json, ",{}]"});
  }
}

}  // namespace polyglot
