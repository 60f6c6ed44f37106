#include "target.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace polyglot::load {
namespace {

// These go into JSON strings and request lines as they are.
void check_plain(const char* what, const std::string& text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\'; });
  if (!plain) throw Failure(PLG_LOAD_INVALID, std::string(what) + " must be visible ASCII without quotes: " + text);
}

}  // namespace

Target::Target(const plg_load_target& given)
    : dialect(static_cast<Dialect>(given.dialect)),
      spread_sources(given.spread_sources != 0),
      host(given.host),
      request(given.request),
      token(given.token),
      secret(given.secret),
      app_id(given.app_id),
      claims(given.claims),
      topic_prefix(given.topic_prefix),
      join_payload(given.join_payload),
      event(given.event),
      broadcast_event(given.broadcast_event),
      payload(given.payload),
      payload_bytes(given.payload_bytes) {
  if (given.dialect < PLG_LOAD_POLYGLOT || given.dialect > PLG_LOAD_RAW) {
    throw Failure(PLG_LOAD_INVALID, "no such dialect: " + std::to_string(given.dialect));
  }
  if (given.processes_count > PLG_LOAD_PROCESSES_MAX) {
    throw Failure(PLG_LOAD_INVALID, "too many processes to measure: " + std::to_string(given.processes_count));
  }
  processes.assign(given.processes, given.processes + given.processes_count);
  check_plain("the host", host);
  check_plain("the request", request);
  check_plain("the token", token);
  check_plain("the app", app_id);
  check_plain("the topic", topic_prefix);
  check_plain("the event", event);
  check_plain("the broadcast's event", broadcast_event);
  if (dialect != Dialect::phoenix && payload_bytes < PLG_LOAD_PAYLOAD_BYTES_MIN) {
    throw Failure(PLG_LOAD_INVALID, "a payload has at least " + std::to_string(PLG_LOAD_PAYLOAD_BYTES_MIN) +
                                        " bytes: it carries when it was sent");
  }
  sockaddr_in four{};
  sockaddr_in6 six{};
  if (inet_pton(AF_INET, given.address, &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(given.port);
    address_size = sizeof four;
    std::memcpy(&address, &four, sizeof four);
    if (ntohl(four.sin_addr.s_addr) >> 24 != 127) spread_sources = false;
  } else if (inet_pton(AF_INET6, given.address, &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(given.port);
    address_size = sizeof six;
    std::memcpy(&address, &six, sizeof six);
    spread_sources = false;
  } else {
    throw Failure(PLG_LOAD_INVALID, std::string("no numeric address: ") + given.address);
  }
}

}  // namespace polyglot::load
