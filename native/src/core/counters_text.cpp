#include "core/counters_text.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "core/msgpack.h"

namespace polyglot {

namespace {

using Loops = std::vector<LoopCounters>;
using Read = const Counter& (*)(const Counters&);

std::uint64_t sum(const Loops& loops, Read read) {
  std::uint64_t all = 0;
  for (const LoopCounters& loop : loops) all += read(*loop.counters).get();
  return all;
}

template <Counter Counters::* member>
const Counter& plain(const Counters& counters) {
  return counters.*member;
}

template <Counter OutboxTally::* member>
const Counter& of_outboxes(const Counters& counters) {
  return counters.outboxes.*member;
}

void append_latency(MsgpackWriter& out, const Loops& loops, std::size_t kind) {
  std::uint64_t sum_us = 0;
  std::array<std::uint64_t, Histogram::kBuckets> counts{};
  for (const LoopCounters& loop : loops) {
    const Histogram& histogram = loop.counters->latency[kind];
    sum_us += histogram.sum_us();
    for (std::size_t at = 0; at < counts.size(); ++at) counts[at] += histogram.count(at);
  }
  out.array(2);
  out.integer(sum_us);
  out.array(counts.size());
  for (const std::uint64_t count : counts) out.integer(count);
}

void append_refused(MsgpackWriter& out, const Loops& loops) {
  std::array<std::uint64_t, kReasons.size()> counts{};
  for (const LoopCounters& loop : loops) {
    for (std::size_t at = 0; at < counts.size(); ++at) counts[at] += loop.counters->refused[at].get();
  }
  out.map(static_cast<std::size_t>(std::count_if(counts.begin(), counts.end(), [](auto count) { return count > 0; })));
  for (std::size_t at = 0; at < counts.size(); ++at) {
    if (counts[at] == 0) continue;
    out.text(kReasons[at]);
    out.integer(counts[at]);
  }
}

using BucketCounts = std::array<std::uint64_t, Histogram::kBuckets>;

BucketCounts counts_of(const Histogram& histogram) {
  BucketCounts counts{};
  for (std::size_t at = 0; at < counts.size(); ++at) counts[at] = histogram.count(at);
  return counts;
}

// Most buckets of most apps are empty: a map of those that are not.
void append_sparse(MsgpackWriter& out, std::uint64_t sum_us, const BucketCounts& counts) {
  out.array(2);
  out.integer(sum_us);
  out.map(static_cast<std::size_t>(std::count_if(counts.begin(), counts.end(), [](auto count) { return count > 0; })));
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
  append_sparse(out, app.latency.sum_us(), counts_of(app.latency));  // copied: they move on meanwhile
}

}  // namespace

void append_counters(std::string& out, const std::vector<LoopCounters>& loops) {
  static constexpr std::pair<std::string_view, Read> kSums[] = {
      {"connections", plain<&Counters::connections>},
      {"subscriptions", plain<&Counters::subscriptions>},
      {"topics", plain<&Counters::topics>},
      {"queued_bytes", of_outboxes<&OutboxTally::queued_bytes>},
      {"connects_total", plain<&Counters::connects>},
      {"handshakes_refused_total", plain<&Counters::handshakes_refused>},
      {"frames_in_total", plain<&Counters::frames_in>},
      {"frames_out_total", plain<&Counters::frames_out>},
      {"bytes_in_total", plain<&Counters::bytes_in>},
      {"bytes_out_total", plain<&Counters::bytes_out>},
      {"events_total", plain<&Counters::events>},
      {"signals_total", plain<&Counters::signals>},
      {"deliveries_total", plain<&Counters::deliveries>},
      {"duplicates_total", plain<&Counters::duplicates>},
      {"conflated_total", of_outboxes<&OutboxTally::conflated>},
      {"dropped_total", of_outboxes<&OutboxTally::dropped>},
      {"slow_consumers_total", plain<&Counters::slow_consumers>},
      {"turns_total", plain<&Counters::turns>},
      {"wakes_total", plain<&Counters::wakes>},
      {"reads_total", plain<&Counters::reads>},
      {"writes_total", plain<&Counters::writes>},
      {"log_writes_total", plain<&Counters::log_writes>},
      {"log_refused_total", plain<&Counters::log_refused>},
      {"accepts_failed_total", plain<&Counters::accepts_failed>},
      {"records_unread_bytes", plain<&Counters::records_unread_bytes>},
      {"records_held_back_total", plain<&Counters::records_held_back>},
      {"shares_held_back_total", plain<&Counters::shares_held_back>},
  };
  constexpr std::string_view kKinds[] = {"room", "ticker", "match", "post", "other"};
  MsgpackWriter writer(out);
  writer.map(std::size(kSums) + 4);
  for (const auto& [name, read] : kSums) {
    writer.text(name);
    writer.integer(sum(loops, read));
  }
  writer.text("refused_total");
  append_refused(writer, loops);
  writer.text("latency_us");
  writer.map(std::size(kKinds));
  for (std::size_t at = 0; at < std::size(kKinds); ++at) {
    writer.text(kKinds[at]);
    append_latency(writer, loops, at);
  }
  writer.text("loops");
  writer.array(loops.size());
  for (const LoopCounters& loop : loops) {
    writer.map(3);
    writer.text("connections");
    writer.integer(loop.counters->connections.get());
    writer.text("turns_total");
    writer.integer(loop.counters->turns.get());
    writer.text("cpu_us_total");
    writer.integer(loop.cpu_us);
  }
  writer.text("apps");
  std::vector<const AppTally*> apps;
  for (const LoopCounters& loop : loops) {
    for (const AppTally* app : loop.counters->apps.all()) apps.push_back(app);
  }
  writer.map(apps.size());
  for (const AppTally* app : apps) append_app(writer, *app);
}

void append_latencies(std::string& out, const std::vector<LoopCounters>& loops) {
  std::vector<const AppTally*> busy;
  for (const LoopCounters& loop : loops) {
    for (const AppTally* app : loop.counters->apps.all()) {
      if (app->latency.times() != app->told.times) busy.push_back(app);
    }
  }
  MsgpackWriter writer(out);
  writer.array(busy.size());
  for (const AppTally* app : busy) {
    ToldLatency now{app->latency.times(), app->latency.sum_us(), {}};  // what comes now comes again next time
    now.counts = counts_of(app->latency);
    BucketCounts since{};
    for (std::size_t at = 0; at < since.size(); ++at) since[at] = now.counts[at] - app->told.counts[at];
    writer.array(2);
    writer.text(app->id);
    append_sparse(writer, now.sum_us - app->told.sum_us, since);
    app->told = now;
  }
}

}  // namespace polyglot
