/* Preloaded into a daemon by test_driver_faults.py: after SIGUSR2 no thread of the driver gets FAILING_MALLOC_BYTES or more
 * at once from malloc any more. Python's own memory, and that of the driver's calls from Python's thread, stays. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);

static volatile sig_atomic_t armed;
static size_t least;

static void arm(int signal) {
  (void)signal;
  armed = 1;
}

__attribute__((constructor)) static void prepare(void) {
  const char *bytes = getenv("FAILING_MALLOC_BYTES");
  least = bytes == NULL ? 0 : strtoul(bytes, NULL, 10);
  signal(SIGUSR2, arm);
}

void *malloc(size_t size) {
  Dl_info caller;
  if (armed && size >= least && gettid() != getpid() && dladdr(__builtin_return_address(0), &caller) != 0 &&
      caller.dli_fname != NULL && strstr(caller.dli_fname, "_native.so") != NULL) {
    errno = ENOMEM;
    return NULL;
  }
  return __libc_malloc(size);
}
