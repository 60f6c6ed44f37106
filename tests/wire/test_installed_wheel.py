"""The wheel, built from this checkout and installed in an empty environment: its commands are there; it serves."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        check=False, **options,
    )  # type: ignore[call-overload]  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    output: str = done.stdout
    return output


def pip(*arguments: str | Path, **options: object) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *arguments, **options)


def build_wheel(source: Path, directory: Path, **options: object) -> Path:
    # CMake and ninja are here, and not on everybody's path.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **options}
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, source, env=environment)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this checkout, with the driver; pip builds it in a directory of its own, for one at a time."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build/wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def clean_checkout(tmp_path: Path) -> Path:
    """Without anything that was built before."""
    for name in ("polyglotd", "polyglotctl", "native", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    return tmp_path / "venv"


@pytest.fixture
def data() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="polyglot-"))
    yield path
    shutil.rmtree(path)


def test_the_wheel_has_the_programs_and_the_examples_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "polyglotd",
        "polyglotctl",
        "polyglot_realtime",
    }
    for example in (ROOT / "examples").iterdir():
        assert not example.is_file() or f"polyglotd/_examples/{example.name}" in names
    assert any(name.startswith("polyglotd/store/sqlite/migrations/registry/") for name in names)


def test_the_wheel_has_the_driver_and_is_for_every_python(wheel: Path) -> None:
    assert re.search(r"-py3-none-linux_\w+\.whl$", wheel.name)
    libraries = [name for name in ZipFile(wheel).namelist() if name.endswith(".so")]
    assert sorted(libraries) == ["polyglotctl/bench/_load.so", "polyglotd/plane/_native.so"]


def test_without_a_compiler_the_wheel_is_built_without_the_driver(clean_checkout: Path, tmp_path: Path) -> None:
    built = build_wheel(clean_checkout, tmp_path / "wheel", CXX=str(tmp_path / "no-such-compiler"))
    names = ZipFile(built).namelist()
    assert not [name for name in names if name.endswith(".so")]
    assert {"polyglotd/cli.py", "polyglotd/_examples/chat_example.html"} <= set(names)


def test_the_installed_wheel_serves(wheel: Path, environment: Path, data: Path) -> None:
    """Its dependencies are those of the tests' own environment; `test_..._with_its_dependencies` gets its own."""
    pip("--python", environment / "bin/python", "install", "--no-deps", wheel)
    site = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    # Named in a path file, a directory's own path files are not read: the checkout stays out of it.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    check_that_it_serves(environment, data)


@pytest.mark.full
def test_the_installed_wheel_serves_with_its_dependencies(wheel: Path, environment: Path, data: Path) -> None:
    pip("--python", environment / "bin/python", "install", wheel)
    check_that_it_serves(environment, data)


def check_that_it_serves(environment: Path, data: Path) -> None:
    version = run(environment / "bin/polyglotd", "--version").strip()
    assert run(environment / "bin/polyglotctl", "--version").strip() == version
    where = run(environment / "bin/python", "-c", "import polyglotd; print(polyglotd.__file__)", cwd=data)
    assert where.startswith(str(environment))
    process = subprocess.Popen(
        [environment / "bin/polyglotd", "serve", "--dev", "--port", "0", "--data", data],
        cwd=data, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("ready "):
                break
        else:
            pytest.fail("".join(lines))
        url = line.split()[1]
        published = httpx.post(
            f"{url}/apps/chat-app/channels/room:lobby/publish",
            headers={"X-API-Key": "valid_key_chat-app"},
            json={"type": "message", "data": {"text": "Hello"}},
        )
        assert published.status_code == 200, published.text
        events = httpx.get(f"{url}/apps/chat-app/channels/room:lobby/history").json()["events"]
        assert [event["id"] for event in events] == [published.json()["id"]]
        for page in ("chat_example.html", "chat_example.js", "chat_example.css"):
            assert httpx.get(f"{url}/examples/{page}").status_code == 200
        tenants = run(environment / "bin/polyglotctl", "tenant", "list", env={"POLYGLOT_DATA": str(data)})
        assert "chat-app" in tenants
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
