#include "core/kept_event.h"

#include <charconv>

#include "phoenix/json_text.h"

namespace polyglot {

namespace {

constexpr std::string_view kSeq = ",\"seq\":";
constexpr std::string_view kMeta = ",\"meta\":{\"user_id\":";
constexpr std::string_view kTs = ",\"ts\":\"";
constexpr std::string_view kEnd = "\"}}";
constexpr std::size_t kTsBytes = 27;

void append_number(std::string& out, std::uint64_t value) {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  static_cast<void>(error);  // twenty digits hold every value
  out.append(digits, end);
}

}  // namespace

std::uint64_t KeptEvent::seq() const {
  const std::string_view rest = envelope().substr(data_at + data_size + kSeq.size());
  std::uint64_t value = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), value);
  return value;
}

std::string_view KeptEvent::user_id(std::string& scratch) const {
  const std::string_view whole = envelope();
  std::size_t from = data_at + data_size + kSeq.size();
  while (whole[from] >= '0' && whole[from] <= '9') ++from;
  from += kMeta.size();
  const std::string_view token = whole.substr(from, whole.size() - kEnd.size() - kTsBytes - kTs.size() - from);
  if (token == "null") return {};
  std::string_view text;
  return decode_string(token, scratch, text) ? text : std::string_view{};
}

void EnvelopeNames::set(std::string_view app_id_, std::string_view channel_) {
  app_id = app_id_;
  channel = channel_;
  middle = "\",\"app_id\":";
  append_json_string(middle, app_id);
  middle += ",\"channel\":";
  append_json_string(middle, channel);
  middle += ",\"type\":\"";
}

KeptEvent append_kept_envelope(std::string& out, const EnvelopeNames& names, std::string_view id, std::string_view type,
                               std::string_view data, std::uint64_t seq, std::string_view user_json, std::int64_t ts_us,
                               std::string_view ts_text) {
  KeptEvent kept;
  const std::size_t begin = out.size();
  out.append("{\"id\":\"").append(id).append(names.middle).append(type).append("\",\"data\":");
  kept.data_at = static_cast<std::uint32_t>(out.size() - begin);
  out.append(data).append(kSeq);
  append_number(out, seq);
  out.append(kMeta).append(user_json).append(kTs).append(ts_text).append(kEnd);
  kept.at = static_cast<std::uint32_t>(begin);
  kept.size = static_cast<std::uint32_t>(out.size() - begin);
  kept.data_size = static_cast<std::uint32_t>(data.size());
  kept.ts_us = ts_us;
  kept.id_size = static_cast<std::uint8_t>(id.size());
  kept.type_size = static_cast<std::uint8_t>(type.size());
  return kept;
}

}  // namespace polyglot
