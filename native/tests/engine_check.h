// Looks into an engine between two turns: whether what it counts is what there is, and whether anything is left. For the
// simulation and the fuzzer of commands.
#pragma once

#include <string>

#include "core/engine.h"

namespace polyglot {

class EngineTestAccess {
 public:
  static std::string broken(const Engine& engine) {
    std::size_t joined = 0;
    for (const auto& [id, conn] : engine.connections_) {
      std::uint32_t joining = 0, catching_up = 0;
      for (const auto& sub : conn->subs) {
        if (sub->conn != conn.get()) return "a sub of another connection";
        if (sub->joining) ++joining;
        if (sub->stage == Sub::Stage::catching_up) ++catching_up;
        if (sub->stage != Sub::Stage::waiting) ++joined;
        if (sub->topic != nullptr && sub->topic->members.at(sub->slot) != sub.get()) return "a member's slot is wrong";
      }
      if (joining != conn->joining) return "the joins of a connection are counted wrong";
      if (catching_up != conn->catching_up) return "those who catch up are counted wrong";
      if (conn->closing != Connection::Closing::open && !conn->subs.empty()) return "subs of a connection that closes";
      if (conn->turn) return "a turn's output was left over";
    }
    if (engine.counters_.subscriptions.get() != joined) return "subscriptions are counted wrong";
    std::size_t asked = 0;
    for (const auto& [id, conn] : engine.connections_) asked += conn->asked;
    if (asked != engine.asked_.size()) return "pushes that wait for the gateway are counted wrong";
    for (const auto& [id, topic] : engine.topics_) {
      std::uint32_t members = 0;
      for (const Sub* sub : topic->members) {
        if (sub != nullptr && sub->topic != topic.get()) return "a member of another topic";
        if (sub != nullptr) ++members;
      }
      if (members != topic->member_count) return "members are counted wrong";
      if (topic->jobs == 0 && members != topic->members.size()) return "holes among members";
      if (topic->window.last() != topic->seq) return "the window does not end at the topic's seq";
      if (topic->waiting == 0 && topic->assigned != topic->seq) return "seqs were lost";
    }
    return {};
  }
  static bool is_empty(const Engine& engine) {
    return engine.connections_.empty() && engine.dead_.empty() && engine.asked_.empty() && engine.jobs_apps_.empty() &&
           engine.unsynced_.empty() && engine.synced_.empty() && engine.paced_apps_.empty() &&
           engine.finished_.empty() && engine.overflowed_.empty() && engine.quick_.empty() && engine.logged_.empty() &&
           engine.log_waiting_ == 0;
  }
};

}  // namespace polyglot
