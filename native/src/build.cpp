// What this library is: plg_abi and plg_build of polyglot_driver.h. Only this file knows the digest of the sources, so
// only this file is compiled again when any other changes.
#include "build_digest.h"
#include "polyglot_driver.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

uint32_t plg_abi(void) { return PLG_ABI; }

const char* plg_build(void) {
  // The compiler's version may hold blanks, so it comes last.
  return "sources=" PLG_SOURCES_DIGEST " sanitize=" POLYGLOT_SANITIZE " compiler=" COMPILER;
}
