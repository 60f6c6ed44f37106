// The C interface: structs in, steps run, no exception out.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>

#include "connecting.h"
#include "idling.h"
#include "polyglot_load.h"
#include "publishing.h"
#include "token.h"

struct plg_load {
  explicit plg_load(const plg_load_target& given) : target(given), fleet(target) {}

  polyglot::load::Target target;
  polyglot::load::Fleet fleet;
  std::map<std::string, std::uint64_t> reasons;  // of the running thread
  mutable std::mutex mutex;
  std::string error;  // the mutex's
};

namespace {

std::size_t copy_text(const std::string& from, char* text, std::size_t room) {
  if (room == 0) return 0;
  const std::size_t size = std::min(from.size(), room - 1);
  std::memcpy(text, from.data(), size);
  text[size] = '\0';
  return size;
}

// Runs `work`; a failure's code, and its words into `error`.
template <typename Work>
int guarded(std::string& error, Work work) {
  try {
    work();
    return 0;
  } catch (const polyglot::load::Failure& failure) {
    error = failure.what();
    return failure.code;
  } catch (const std::system_error& failure) {
    error = failure.what();
    return PLG_LOAD_SYSTEM;
  } catch (const std::exception& failure) {  // no memory
    error = failure.what();
    return PLG_LOAD_SYSTEM;
  }
}

template <typename Work>
int run_step(plg_load* load, Work work) {
  std::string error;
  const int result = guarded(error, work);
  const std::lock_guard<std::mutex> lock(load->mutex);
  load->error = std::move(error);
  return result;
}

}  // namespace

#define PLG_LOAD_EXPORT extern "C" __attribute__((visibility("default")))

PLG_LOAD_EXPORT uint32_t plg_load_abi(void) { return PLG_LOAD_ABI; }

PLG_LOAD_EXPORT int plg_load_open(uint32_t abi, const plg_load_target* target, plg_load** load, char* error,
                                  size_t error_size) {
  std::string words;
  const int result = guarded(words, [&] {
    if (abi != PLG_LOAD_ABI) throw polyglot::load::Failure(PLG_LOAD_INVALID, "another version of the interface");
    *load = std::make_unique<plg_load>(*target).release();
  });
  if (result < 0) copy_text(words, error, error_size);
  return result;
}

PLG_LOAD_EXPORT int plg_load_connect(plg_load* load, const plg_load_members* members, plg_load_connected* result) {
  return run_step(load, [&] { *result = polyglot::load::Connecting(load->fleet, *members).run(); });
}

PLG_LOAD_EXPORT int plg_load_publish(plg_load* load, const plg_load_traffic* traffic, plg_load_published* result) {
  // Not on the stack: two histograms.
  return run_step(load, [&] {
    load->reasons.clear();
    *result = std::make_unique<polyglot::load::Publishing>(load->fleet, *traffic, load->reasons)->run();
  });
}

PLG_LOAD_EXPORT int plg_load_idle(plg_load* load, double seconds, double heartbeat_s, plg_load_idled* result) {
  return run_step(load, [&] { *result = polyglot::load::Idling(load->fleet).run(seconds, heartbeat_s); });
}

PLG_LOAD_EXPORT void plg_load_look(const plg_load* load, plg_load_progress* progress) {
  const polyglot::load::Progress& from = const_cast<plg_load*>(load)->fleet.progress();
  const std::int64_t began_ns = from.began_ns.load();
  *progress = {from.joined.load(),
               from.published.load(),
               from.acknowledged.load(),
               from.delivered.load(),
               from.refused.load(),
               began_ns == 0 ? 0 : static_cast<double>(polyglot::load::monotonic_ns() - began_ns) * 1e-9,
               from.total_s.load()};
}

PLG_LOAD_EXPORT void plg_load_stop(plg_load* load) { load->fleet.progress().stop = true; }

PLG_LOAD_EXPORT size_t plg_load_error_text(const plg_load* load, char* text, size_t room) {
  const std::lock_guard<std::mutex> lock(load->mutex);
  return copy_text(load->error, text, room);
}

PLG_LOAD_EXPORT size_t plg_load_reasons(const plg_load* load, char* text, size_t room) {
  std::string lines;
  for (const auto& [reason, count] : load->reasons) lines += std::to_string(count) + " " + reason + "\n";
  return copy_text(lines, text, room);
}

PLG_LOAD_EXPORT void plg_load_close(plg_load* load) { delete load; }

PLG_LOAD_EXPORT size_t plg_load_token(const char* secret, const char* app_id, const char* user, const char* token_id,
                                      int64_t issued_s, const char* claims, char* text, size_t room) {
  const std::string token = polyglot::load::TokenSigner(secret, app_id, claims).sign(user, token_id, issued_s);
  return token.size() < room ? copy_text(token, text, room) : 0;
}
