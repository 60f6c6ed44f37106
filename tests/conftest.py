"""This file's place puts `tests/` on the import path, so that suites can share tables (`transcripts.differences`)."""

import os
import sys

if "POLYGLOT_TEST_DAEMON" in os.environ and ("PYTEST_XDIST_WORKER" in os.environ or "-n" not in sys.argv):
    # Under .ci/sanitized this process has its sanitizer, and daemons get it from their command. What else tests start
    # would only be slowed down by it, or would not start at all (browsers). xdist's parent starts its workers first.
    os.environ.pop("LD_PRELOAD", None)
