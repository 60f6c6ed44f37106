"""`python -m bench [--all] [NAME …]`: run benchmarks and say which promises they met.

`python -m bench driver …` has options and rows of its own: see `bench.driver`.
"""

import argparse
import importlib
import sys
import time

from bench.machine import describe

BENCHMARKS = (
    "log_segments",
    "http_publish",
    "idle_connections",
    "webhooks",
    "ingest",
    "history_page",
    "analytics",
    "driver",
    "processor",
)
WITH_OPTIONS = ("ingest", "history_page", "analytics", "processor")


def main() -> int:
    """Exit code 0 where every promise held in this run."""
    if sys.argv[1:2] == ["driver"]:
        from bench import driver

        return driver.main(sys.argv[2:])
    if len(sys.argv) > 2 and sys.argv[1] in WITH_OPTIONS:
        return int(importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--all", action="store_true", help="long runs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all where none")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {describe()}\n")
    missed = []
    for name in arguments.names or BENCHMARKS:
        if not importlib.import_module(f"bench.{name}").run(long=arguments.all):
            missed.append(name)
        print()
    print(f"missed in this run: {', '.join(missed)}" if missed else "every promise was kept in this run")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
