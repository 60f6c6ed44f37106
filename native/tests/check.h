// A page of assertions: tests are sentences, failures say file, line and both values. One binary runs all of them.
#pragma once

#include <cstdint>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registrar {
  Registrar(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

template <typename T>
std::string shown(const T& value) {
  std::ostringstream out;
  if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(a value)";
  }
  return out.str();
}

// How many seeds a test of one thread takes. The thread sanitizer, ten times slower, sees nothing more in the later ones.
constexpr std::uint64_t seeds(std::uint64_t wanted) {
#ifdef __SANITIZE_THREAD__
  return wanted / 10;
#else
  return wanted;
#endif
}

inline void fail(const char* file, int line, const std::string& what) {
  std::cerr << file << ":" << line << ": " << what << "\n";
  ++failures();
}

template <typename A, typename B>
void equal(const char* file, int line, const char* text, const A& a, const B& b) {
  if (!(a == b)) fail(file, line, std::string(text) + ": " + shown(a) + " is not " + shown(b));
}

}  // namespace check

#define CHECK_JOIN_(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN_(a, b)
#define TEST(name)                                                                                      \
  static void CHECK_JOIN(test_, __LINE__)();                                                            \
  static const ::check::Registrar CHECK_JOIN(registrar_, __LINE__){name, &CHECK_JOIN(test_, __LINE__)}; \
  static void CHECK_JOIN(test_, __LINE__)()
#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::check::fail(__FILE__, __LINE__, "not true: " #condition))
#define CHECK_EQ(a, b) ::check::equal(__FILE__, __LINE__, #a " == " #b, (a), (b))
