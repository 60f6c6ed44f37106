#include "core/records.h"

#include "core/msgpack.h"

namespace polyglot {

void Records::connect(std::uint64_t conn, std::string_view query, const Headers& headers, std::string_view address) {
  MsgpackWriter out(bytes_);
  out.array(5);
  out.integer(1);
  out.integer(conn);
  out.text(query);
  out.array(headers.size());
  for (const auto& [name, value] : headers) {
    out.array(2);
    out.text(name);
    out.text(value);
  }
  out.text(address);
  ++count_;
}

void Records::join(std::uint64_t conn, std::uint64_t sub, std::string_view channel, std::string_view params) {
  MsgpackWriter out(bytes_);
  out.array(5);
  out.integer(2);
  out.integer(conn);
  out.integer(sub);
  out.text(channel);
  out.binary(params);
  ++count_;
}

void Records::joined(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::uint64_t seq, int recovered) {
  MsgpackWriter out(bytes_);
  out.array(6);
  out.integer(3);
  out.integer(conn);
  out.integer(sub);
  out.integer(topic);
  out.integer(seq);
  if (recovered < 0) {
    out.nil();
  } else {
    out.boolean(recovered != 0);
  }
  ++count_;
}

void Records::left(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::string_view why) {
  MsgpackWriter out(bytes_);
  out.array(5);
  out.integer(4);
  out.integer(conn);
  out.integer(sub);
  out.integer(topic);
  out.text(why);
  ++count_;
}

void Records::push(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::string_view event,
                   std::string_view payload, std::uint64_t reply) {
  MsgpackWriter out(bytes_);
  out.array(7);
  out.integer(5);
  out.integer(conn);
  out.integer(sub);
  out.integer(topic);
  out.text(event);
  out.binary(payload);
  out.integer(reply);
  ++count_;
}

void Records::disconnected(std::uint64_t conn, std::uint16_t code, std::string_view reason) {
  MsgpackWriter out(bytes_);
  out.array(4);
  out.integer(6);
  out.integer(conn);
  out.integer(code);
  out.text(reason);
  ++count_;
}

void Records::need_history(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::uint64_t after,
                           std::uint64_t until, std::size_t limit, std::size_t bytes_max) {
  MsgpackWriter out(bytes_);
  out.array(8);
  out.integer(7);
  out.integer(conn);
  out.integer(sub);
  out.integer(topic);
  out.integer(after);
  out.integer(until);
  out.integer(limit);
  out.integer(bytes_max);
  ++count_;
}

void Records::published(const PublishedRecord& record) {
  MsgpackWriter out(bytes_);
  out.array(11);
  out.integer(8);
  out.integer(record.topic);
  out.integer(record.first_seq);
  out.integer(record.last_seq);
  out.integer(record.position);
  out.integer(record.size);
  out.integer(record.deliveries);
  out.text(record.epoch);
  out.integer(record.start);
  out.integer(static_cast<std::uint64_t>(record.ts_us));
  out.boolean(record.ids_given);
  ++count_;
}

void Records::accept_failed(int why) {
  MsgpackWriter out(bytes_);
  out.array(2);
  out.integer(101);
  out.integer(static_cast<std::uint64_t>(why));
  ++count_;
}

void Records::publish_results(std::uint64_t request, const std::vector<PublishResult>& results) {
  MsgpackWriter out(bytes_);
  out.array(3);
  out.integer(9);
  out.integer(request);
  out.array(results.size());
  const auto optional = [&out](std::int64_t value) {
    if (value < 0) {
      out.nil();
    } else {
      out.integer(static_cast<std::uint64_t>(value));
    }
  };
  for (const PublishResult& result : results) {
    if (result.accepted) {
      out.array(5);
      out.integer(1);
      out.text(result.id);
      out.integer(result.seq);
      out.integer(static_cast<std::uint64_t>(result.ts_us));
      out.boolean(result.duplicate);
    } else {
      out.array(6);
      out.integer(2);
      out.text(result.reason);
      out.text(result.message);
      optional(result.retry_after_ms);
      optional(result.limit);
      if (result.quota.empty()) {
        out.nil();
      } else {
        out.text(result.quota);
      }
    }
  }
  ++count_;
}

void Records::window_page(std::uint64_t request, std::string_view epoch, std::uint64_t seq, std::uint64_t first,
                          std::size_t count) {
  MsgpackWriter out(bytes_);
  out.array(7);
  out.integer(10);
  out.integer(request);
  out.text(epoch);
  out.integer(seq);
  out.integer(first);
  out.array(count);
}

void Records::event(std::string_view id, std::string_view app_id, std::string_view channel, std::string_view epoch,
                    std::uint64_t seq, std::string_view type, std::string_view data, std::string_view user_id,
                    std::int64_t ts_us) {
  MsgpackWriter out(bytes_);
  out.array(9);
  out.text(id);
  out.text(app_id);
  out.text(channel);
  out.text(epoch);
  out.integer(seq);
  out.text(type);
  out.binary(data);
  if (user_id.empty()) {
    out.nil();
  } else {
    out.text(user_id);
  }
  out.integer(static_cast<std::uint64_t>(ts_us));
}

void Records::window_page_end(bool more) {
  MsgpackWriter(bytes_).boolean(more);
  ++count_;
}

void Records::mail_ready(std::uint64_t conn) {
  MsgpackWriter out(bytes_);
  out.array(2);
  out.integer(11);
  out.integer(conn);
  ++count_;
}

void Records::mail(std::uint64_t request, const std::vector<std::string>& frames) {
  MsgpackWriter out(bytes_);
  out.array(3);
  out.integer(12);
  out.integer(request);
  out.array(frames.size());
  for (const std::string& frame : frames) out.binary(frame);
  ++count_;
}

void Records::handoff(int fd, std::string_view address) {
  MsgpackWriter out(bytes_);
  out.array(3);
  out.integer(13);
  out.integer(static_cast<std::uint64_t>(fd));
  out.text(address);
  ++count_;
}

void Records::topic_idle(std::uint64_t topic) {
  MsgpackWriter out(bytes_);
  out.array(2);
  out.integer(14);
  out.integer(topic);
  ++count_;
}

void Records::topic_closed(std::uint64_t topic, bool closed) {
  MsgpackWriter out(bytes_);
  out.array(3);
  out.integer(15);
  out.integer(topic);
  out.boolean(closed);
  ++count_;
}

}  // namespace polyglot
