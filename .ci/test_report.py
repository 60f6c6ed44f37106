"""Write the page docs/test-report.md from pytest's JUnit files. Called by `.ci/test --report`.

Usage: test_report.py JUNIT_FILE..., the page goes to standard output.
"""

import datetime
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

SLOWEST_SHOWN = 15
LIBRARIES = ("trio", "hypercorn", "starlette", "msgspec", "wsproto", "pytest", "hypothesis")


def main() -> None:
    suites = [suite for path in sys.argv[1:] for suite in ElementTree.parse(path).getroot().iter("testsuite")]
    cases = [case for suite in suites for case in suite.iter("testcase")]
    print("\n".join(page(cases, wall_s=sum(float(suite.get("time", "0")) for suite in suites))))


def page(cases: list[ElementTree.Element], wall_s: float) -> list[str]:
    outcomes = Counter(map(outcome, cases))
    lines = [
        "# Test report",
        "",
        "Written by `make test-all`: every test, with its long counts.",
        "",
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}",
        f"- {wall_s:.0f} s on {os.cpu_count()} cores",
        f"- {len(cases)} tests: " + ", ".join(f"{count} {name}" for name, count in outcomes.most_common()),
        "",
        "| suite | tests | passed | seconds of work |",
        "| --- | --- | --- | --- |",
    ]
    for suite in sorted({suite_of(case) for case in cases}):
        own = [case for case in cases if suite_of(case) == suite]
        passed = sum(outcome(case) == "passed" for case in own)
        lines.append(f"| {suite} | {len(own)} | {passed} | {sum(map(seconds, own)):.1f} |")
    bad = [case for case in cases if outcome(case) != "passed"]
    if bad:
        lines += ["", "Not passed:", ""]
        lines += [f"- {outcome(case)}: `{suite_of(case)}: {name_of(case)}`" for case in bad]
    lines += ["", f"The slowest {SLOWEST_SHOWN}:", "", "| test | seconds |", "| --- | --- |"]
    for case in sorted(cases, key=seconds, reverse=True)[:SLOWEST_SHOWN]:
        lines.append(f"| `{name_of(case).replace('|', '&#124;')}` | {seconds(case):.1f} |")
    lines += ["", "With:", ""]
    lines += [f"- {name} {number}" for name, number in versions().items()]
    return lines


def outcome(case: ElementTree.Element) -> str:
    for tag, name in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return name
    return "passed"


def suite_of(case: ElementTree.Element) -> str:
    parts = str(case.get("classname")).split(".")
    if parts[0] == "asgi":  # .ci/test's second run
        return "/".join(parts[1:3]) + ", on the plane in Python"
    return "/".join(parts[: 3 if parts[:2] == ["tests", "unit"] else 2])


def name_of(case: ElementTree.Element) -> str:
    """With the class or module before it: stateful tests are all called `runTest`."""
    return f"{str(case.get('classname')).rpartition('.')[2]}.{case.get('name')}"


def seconds(case: ElementTree.Element) -> float:
    return float(case.get("time", "0"))


def commit() -> str:
    return output("git", "rev-parse", "--short", "HEAD") + (" and changes" if output("git", "status", "-s") else "")


def versions() -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "Linux": ".".join(platform.release().split(".")[:2]),
        "SQLite": sqlite3.sqlite_version,
        "node": output("node", "--version"),
        "Chromium": output("chromium", "--version"),
        "curl": " ".join(output("curl", "--version").split()[:2]),
    }
    return found | {name: version(name) for name in LIBRARIES} | npm_versions()


def npm_versions() -> dict[str, str]:
    lock = json.loads(Path("tests/js/package-lock.json").read_text())["packages"]
    names = ("phoenix", "phoenix-1-5", "ws", "puppeteer-core")
    return {f"npm {name}": lock[f"node_modules/{name}"]["version"] for name in names}


def output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


if __name__ == "__main__":
    main()
