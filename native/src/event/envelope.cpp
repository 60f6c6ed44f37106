// See envelope.h.
#include "event/envelope.h"

#include <charconv>

#include "phoenix/json_text.h"

namespace polyglot {

namespace {

void append_member(std::string& out, std::string_view key, std::string_view text) {
  out += key;
  append_json_string(out, text);
}

void append_meta(std::string& out, std::string_view user_id, std::int64_t ts_us) {
  out += R"("meta":{"user_id":)";
  if (user_id.empty()) {
    out += "null";
  } else {
    append_json_string(out, user_id);
  }
  out += R"(,"ts":")";
  TimeFormat().append(out, ts_us);
  out += R"("}})";
}

}  // namespace

void append_envelope(std::string& out, const EventView& event) {
  append_member(out, R"({"id":)", event.id);
  append_member(out, R"(,"app_id":)", event.app_id);
  append_member(out, R"(,"channel":)", event.channel);
  append_member(out, R"(,"type":)", event.type);
  out += R"(,"data":)";
  out += event.data;
  out += R"(,"seq":)";
  char digits[20];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, event.seq).ptr);
  out += ',';
  append_meta(out, event.user_id, event.ts_us);
}

void append_signal(std::string& out, std::string_view app_id, std::string_view channel, std::string_view type,
                   std::string_view data, std::string_view user_id, std::int64_t ts_us) {
  append_member(out, R"({"app_id":)", app_id);
  append_member(out, R"(,"channel":)", channel);
  append_member(out, R"(,"type":)", type);
  out += R"(,"data":)";
  out += data;
  out += ',';
  append_meta(out, user_id, ts_us);
}

}  // namespace polyglot
