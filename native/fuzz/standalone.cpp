// A fuzzer's main where clang's libFuzzer is missing: replays inputs, then changes them by chance and keeps those that
// reach code that no other input reached. Understands the few flags of libFuzzer that .ci/fuzz gives to either.
//
//   fuzz_NAME [-max_total_time=SECONDS] [-seed=N] [-max_len=BYTES] [-artifact_prefix=PATH] [FILE | DIRECTORY]...
//
// Without -max_total_time it only replays. The first directory takes what was found. An input that ends the program is
// written to PATHcrash-N and shown. gcc's -fsanitize-coverage=trace-pc tells each branch that was taken; it is not told
// of comparisons, as libFuzzer is, so a corpus should hold every word that matters.
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;
using namespace std::literals;

constexpr std::size_t kEdges = std::size_t{1} << 16;
constexpr std::size_t kCorpusMax = 20'000;  // inputs in memory
constexpr std::size_t kShownMax = 2'048;  // bytes of a bad input on standard error
constexpr int kChangesMax = 6;  // to one input at a time
constexpr unsigned kRunSecondsMax = 30;  // for one input: beyond, it hangs

struct Flags {
  double seconds = 0;
  std::uint64_t seed = std::random_device{}();
  std::size_t size_max = 4'096;
  std::string artifact_prefix = "./";
  std::vector<fs::path> paths;
};

// How often each edge was taken in this run; and which counts (of eight sizes) any run had before.
std::array<std::uint8_t, kEdges> g_taken;
std::array<std::uint8_t, kEdges> g_known;

// For the handlers, which may not allocate.
const Input* g_running = nullptr;
std::array<char, 4'096> g_artifact;

void write_all(int fd, const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, at, size);
    if (written <= 0) return;
    at += written;
    size -= static_cast<std::size_t>(written);
  }
}

void say(std::string_view text) { write_all(STDERR_FILENO, text.data(), text.size()); }

// Called by the sanitizers before they end the program, and by our handler of signals.
void keep_the_bad_input() {
  const Input* input = std::exchange(g_running, nullptr);
  if (input == nullptr) return;
  const int fd = ::open(g_artifact.data(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) {
    write_all(fd, input->data(), input->size());
    ::close(fd);
  }
  say("\nthe input, also in ");
  say(g_artifact.data());
  say(":\n");
  for (std::size_t at = 0; at < std::min(input->size(), kShownMax); ++at) {
    constexpr char kDigits[] = "0123456789abcdef";
    const std::uint8_t byte = (*input)[at];
    const char shown[2] = {kDigits[byte >> 4], kDigits[byte & 15]};
    write_all(STDERR_FILENO, shown, 2);
  }
  say("\n");
}

void on_signal(int number) {
  say(number == SIGALRM ? "\nit takes too long with this input\n" : "\nit ended with a signal\n");
  keep_the_bad_input();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

// One bit for each order of magnitude of a count, as AFL has it: a loop taken 5 times or 6 is the same.
std::uint8_t size_of_count(std::uint8_t count) {
  if (count <= 3) return static_cast<std::uint8_t>(1u << count >> 1);
  if (count <= 7) return 8;
  if (count <= 15) return 16;
  if (count <= 31) return 32;
  return count <= 127 ? 64 : 128;
}

bool all_zero(const std::uint8_t* eight) {
  std::uint64_t word;
  std::memcpy(&word, eight, sizeof word);
  return word == 0;
}

// Whether it reached something new.
bool run(const Input& input) {
  g_taken.fill(0);
  g_running = &input;
  ::alarm(kRunSecondsMax);
  LLVMFuzzerTestOneInput(input.data(), input.size());
  g_running = nullptr;
  bool news = false;
  for (std::size_t edge = 0; edge < kEdges; ++edge) {
    if (edge % 8 == 0 && all_zero(&g_taken[edge])) {  // nearly all are
      edge += 7;
    } else if (g_taken[edge] != 0) {
      const std::uint8_t bit = size_of_count(g_taken[edge]);
      news = news || (g_known[edge] & bit) == 0;
      g_known[edge] |= bit;
    }
  }
  return news;
}

class Changer {
 public:
  Changer(std::uint64_t seed, std::size_t size_max) : random_(seed), size_max_(size_max) {}

  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : static_cast<std::size_t>(random_() % bound); }

  Input changed(const std::vector<Input>& corpus) {
    Input input = corpus[below(corpus.size())];
    for (std::size_t left = 1 + below(kChangesMax); left > 0; --left) change(input, corpus[below(corpus.size())]);
    if (input.size() > size_max_) input.resize(size_max_);
    return input;
  }

 private:
  void change(Input& input, const Input& other) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t run = std::min(below(8) == 0 ? below(input.size() + 1) : 1 + below(8), input.size() - at);
    const auto begin = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(9)) {
      case 0:
        if (at < input.size()) input[at] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 1:
        if (at < input.size()) input[at] = byte();
        break;
      case 2:
        input.insert(begin, 1 + below(4), byte());
        break;
      case 3:
        input.erase(begin, begin + static_cast<std::ptrdiff_t>(run));
        break;
      case 4: {  // what is here once more, further on
        const Input part(begin, begin + static_cast<std::ptrdiff_t>(run));
        insert(input, part);
        break;
      }
      case 5: {  // a number, where it may count bytes
        if (at + 2 > input.size()) break;
        const std::uint32_t number = kNumbers[below(std::size(kNumbers))];
        for (std::size_t i = 0; i < 4 && at + i < input.size(); ++i)
          input[at + i] = static_cast<std::uint8_t>(number >> (8 * (i ^ (number & 1 ? 0u : 3u))));
        break;
      }
      case 6:
        if (at < input.size()) input[at] = static_cast<std::uint8_t>(input[at] + (below(2) == 0 ? 1 : 255));
        break;
      default: {  // a part of another input, put in or put over
        if (other.empty()) break;
        const std::size_t from = below(other.size());
        const std::size_t size = std::min(1 + below(below(4) == 0 ? other.size() : 16), other.size() - from);
        const auto first = other.begin() + static_cast<std::ptrdiff_t>(from);
        const Input part(first, first + static_cast<std::ptrdiff_t>(size));
        if (below(2) == 0) {
          insert(input, part);
        } else {
          std::copy_n(part.begin(), std::min(part.size(), input.size() - at), begin);
        }
      }
    }
  }

  void insert(Input& input, const Input& part) {
    input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size() + 1)), part.begin(), part.end());
  }

  std::uint8_t byte() {
    constexpr std::string_view kTelling = "\0\x01\x7d\x7e\x7f\x80\x81\x88\xc0\xed\xf4\xff\"\\{}[],: 09eE.-+nu\r\n/"sv;
    return below(2) == 0 ? static_cast<std::uint8_t>(kTelling[below(kTelling.size())])
                         : static_cast<std::uint8_t>(below(256));
  }

  static constexpr std::uint32_t kNumbers[] = {0,           1,           125,         126,        127,    128,
                                               255,         256,         0x7fff,      0x8000,     0xffff, 0x10000,
                                               0x7fff'ffff, 0x8000'0000, 0xffff'fffe, 0xffff'ffff};
  std::mt19937_64 random_;
  std::size_t size_max_;
};

std::optional<Flags> flags_of(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value_of = [&](std::string_view name) -> std::optional<std::string> {
      if (!word.starts_with(name)) return std::nullopt;
      return std::string(word.substr(name.size()));
    };
    if (auto seconds = value_of("-max_total_time=")) {
      flags.seconds = std::stod(*seconds);
    } else if (auto seed = value_of("-seed=")) {
      flags.seed = std::stoull(*seed);
    } else if (auto size = value_of("-max_len=")) {
      flags.size_max = std::stoull(*size);
    } else if (auto prefix = value_of("-artifact_prefix=")) {
      flags.artifact_prefix = *prefix;
    } else if (word.starts_with('-')) {
      std::fprintf(stderr, "no such flag here: %s\n", argv[i]);
      return std::nullopt;
    } else {
      flags.paths.emplace_back(word);
    }
  }
  return flags;
}

// In the order of their names, so that a seed says all.
std::vector<Input> inputs_of(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    const auto first = static_cast<std::ptrdiff_t>(files.size());
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.is_regular_file()) files.push_back(entry.path());
    std::sort(files.begin() + first, files.end());
  }
  std::vector<Input> inputs;
  for (const fs::path& file : files) {
    std::ifstream in(file, std::ios::binary);
    if (!in) std::fprintf(stderr, "cannot be read: %s\n", file.c_str());
    inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return inputs;
}

void keep(const fs::path& directory, const Input& input, std::size_t number) {
  std::ofstream out(directory / ("found-" + std::to_string(number)), std::ios::binary);
  out.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
}

}  // namespace

// Each edge that instrumented code takes. Where it was called from tells which one.
extern "C" __attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc() {
  const auto from = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  std::uint8_t& count = g_taken[(from ^ (from >> 16)) % kEdges];
  if (count != 255) ++count;
}

int main(int argc, char** argv) {
  const std::optional<Flags> flags = flags_of(argc, argv);
  if (!flags) return 2;
  std::snprintf(g_artifact.data(), g_artifact.size(), "%scrash-%llu", flags->artifact_prefix.c_str(),
                static_cast<unsigned long long>(flags->seed));
  __sanitizer_set_death_callback(keep_the_bad_input);
  for (const int number : {SIGABRT, SIGALRM}) std::signal(number, on_signal);

  std::vector<Input> corpus = inputs_of(flags->paths);
  for (const Input& input : corpus) run(input);
  std::printf("%zu inputs replayed\n", corpus.size());
  if (flags->seconds <= 0) return 0;
  std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(flags->seed));

  if (corpus.empty()) corpus.push_back({0});
  const bool keeps = !flags->paths.empty() && fs::is_directory(flags->paths.front());
  const auto end = Clock::now() + std::chrono::duration<double>(flags->seconds);
  Changer changer(flags->seed, flags->size_max);
  std::size_t runs = 0;
  std::size_t found = 0;
  while (Clock::now() < end) {
    Input input = changer.changed(corpus);
    ++runs;
    if (!run(input)) continue;
    if (keeps) keep(flags->paths.front(), input, corpus.size());
    ++found;
    if (corpus.size() < kCorpusMax) corpus.push_back(std::move(input));
  }
  std::printf("%zu runs, %zu new ways found\n", runs, found);
  return 0;
}
