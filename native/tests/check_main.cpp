// Runs every test, or those whose name holds the first argument.
#include <cstring>

#include "check.h"

int main(int argc, char** argv) {
  int run = 0;
  for (const auto& test : check::tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = check::failures();
    test.run();
    ++run;
    if (check::failures() != before) std::cerr << "  in: " << test.name << "\n";
  }
  std::cout << run << " tests, " << check::failures() << " failures\n";
  return check::failures() == 0 && run > 0 ? 0 : 1;
}
