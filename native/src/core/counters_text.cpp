#include "core/counters_text.h"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "core/msgpack.h"

namespace polyglot {

namespace {

void append_histogram(MsgpackWriter& out, const Histogram& histogram) {
  out.array(2);
  out.integer(histogram.sum_us());
  out.array(Histogram::kBuckets);
  for (std::size_t at = 0; at < Histogram::kBuckets; ++at) out.integer(histogram.count(at));
}

// Most buckets of most apps are empty: a map of those that are not.
void append_sparse(MsgpackWriter& out, const Histogram& histogram) {
  std::array<std::uint64_t, Histogram::kBuckets> counts{};  // copied, since they move on while they are written
  std::size_t used = 0;
  for (std::size_t at = 0; at < counts.size(); ++at) {
    counts[at] = histogram.count(at);
    used += counts[at] > 0 ? 1u : 0u;
  }
  out.array(2);
  out.integer(histogram.sum_us());
  out.map(used);
  for (std::size_t at = 0; at < counts.size(); ++at) {
    if (counts[at] == 0) continue;
    out.integer(at);
    out.integer(counts[at]);
  }
}

void append_app(MsgpackWriter& out, const AppTally& app) {
  const std::pair<std::string_view, const Counter*> plain[] = {
      {"events_total", &app.events},
      {"deliveries_total", &app.deliveries},
      {"queued_bytes", &app.outboxes.queued_bytes},
      {"conflated_total", &app.outboxes.conflated},
      {"dropped_total", &app.outboxes.dropped},
  };
  out.text(app.id);
  out.map(std::size(plain) + 1);
  for (const auto& [name, counter] : plain) {
    out.text(name);
    out.integer(counter->get());
  }
  out.text("latency_us");
  append_sparse(out, app.latency);
}

}  // namespace

void append_counters(std::string& out, const Counters& counters) {
  const std::pair<std::string_view, const Counter*> plain[] = {
      {"connections", &counters.connections},
      {"subscriptions", &counters.subscriptions},
      {"topics", &counters.topics},
      {"queued_bytes", &counters.outboxes.queued_bytes},
      {"connects_total", &counters.connects},
      {"handshakes_refused_total", &counters.handshakes_refused},
      {"frames_in_total", &counters.frames_in},
      {"frames_out_total", &counters.frames_out},
      {"bytes_in_total", &counters.bytes_in},
      {"bytes_out_total", &counters.bytes_out},
      {"events_total", &counters.events},
      {"signals_total", &counters.signals},
      {"deliveries_total", &counters.deliveries},
      {"duplicates_total", &counters.duplicates},
      {"conflated_total", &counters.outboxes.conflated},
      {"dropped_total", &counters.outboxes.dropped},
      {"slow_consumers_total", &counters.slow_consumers},
      {"turns_total", &counters.turns},
      {"wakes_total", &counters.wakes},
      {"reads_total", &counters.reads},
      {"writes_total", &counters.writes},
      {"log_writes_total", &counters.log_writes},
      {"log_refused_total", &counters.log_refused},
      {"accepts_failed_total", &counters.accepts_failed},
      {"records_unread_bytes", &counters.records_unread_bytes},
      {"records_held_back_total", &counters.records_held_back},
      {"shares_held_back_total", &counters.shares_held_back},
  };
  constexpr std::string_view kKinds[] = {"room", "ticker", "match", "post", "other"};
  MsgpackWriter writer(out);
  writer.map(std::size(plain) + 3);
  for (const auto& [name, counter] : plain) {
    writer.text(name);
    writer.integer(counter->get());
  }
  writer.text("refused_total");
  std::size_t seen = 0;
  for (const Counter& refused : counters.refused) seen += refused.get() > 0 ? 1u : 0u;
  writer.map(seen);
  for (std::size_t at = 0; at < kReasons.size() && seen > 0; ++at) {
    if (counters.refused[at].get() == 0) continue;
    writer.text(kReasons[at]);
    writer.integer(counters.refused[at].get());
    --seen;
  }
  writer.text("latency_us");
  writer.map(std::size(kKinds));
  for (std::size_t at = 0; at < std::size(kKinds); ++at) {
    writer.text(kKinds[at]);
    append_histogram(writer, counters.latency[at]);
  }
  writer.text("apps");
  const std::vector<const AppTally*> apps = counters.apps.all();
  writer.map(apps.size());
  for (const AppTally* app : apps) append_app(writer, *app);
}

}  // namespace polyglot
