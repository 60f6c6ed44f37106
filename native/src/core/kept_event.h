// An event that a window or a snapshot keeps: its envelope inside a shared run, and where the envelope's parts are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/run.h"
#include "event/event.h"

namespace polyglot {

struct KeptEvent {
  RunRef run;
  std::uint32_t at = 0;         // of the envelope in the run
  std::uint32_t size = 0;       // of the envelope
  std::uint32_t data_at = 0;    // of `data` in the envelope
  std::uint32_t data_size = 0;
  std::int64_t ts_us = 0;
  std::uint8_t id_size = 0;
  std::uint8_t type_size = 0;

  std::string_view envelope() const { return run->view(at, size); }
  std::string_view id() const { return envelope().substr(kIdAt, id_size); }
  std::string_view type() const { return envelope().substr(data_at - kTypeToData - type_size, type_size); }
  std::string_view data() const { return envelope().substr(data_at, data_size); }
  // As text; `scratch` holds it where it was escaped. Empty: no user.
  std::string_view user_id(std::string& scratch) const;
  std::uint64_t seq() const;

  static constexpr std::size_t kIdAt = 7;  // {"id":"

 private:
  static constexpr std::size_t kTypeToData = 9;  // ","data":
};

// What one topic says in every envelope, encoded once.
struct EnvelopeNames {
  std::string app_id;      // as they are
  std::string channel;
  std::string middle;      // ","app_id":"a","channel":"c","type":"
  void set(std::string_view app_id_, std::string_view channel_);
};

// Appends the envelope (section 2 of the contract; the bytes of `encode_event`) and says where its parts are; `at` and
// offsets are of `out`. `user_json`: the user as JSON string, or null.
KeptEvent append_kept_envelope(std::string& out, const EnvelopeNames& names, std::string_view id, std::string_view type,
                               std::string_view data, std::uint64_t seq, std::string_view user_json, std::int64_t ts_us,
                               std::string_view ts_text);

}  // namespace polyglot
