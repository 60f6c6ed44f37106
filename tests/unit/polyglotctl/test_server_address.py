"""Where the commands look for a server, in the contract's order."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyglotctl.failure import WrongUsage
from polyglotctl.server_address import find_server


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory with a listening admin socket, in an otherwise empty working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    directory = tmp_path / "d"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "admin.sock"))
        yield directory


def test_the_socket_of_polyglot_data_comes_before_a_url(data: Path) -> None:
    server = find_server({"POLYGLOT_DATA": str(data), "POLYGLOT_URL": "http://elsewhere:4000"})
    assert server.socket == data / "admin.sock"
    assert server.headers(app_call=False) == {}


def test_a_url_takes_the_admin_token_of_the_environment(data: Path) -> None:
    server = find_server({"POLYGLOT_URL": "http://elsewhere:4000/", "POLYGLOT_ADMIN_TOKEN": "pla_x"})
    assert (server.socket, server.url) == (None, "http://elsewhere:4000")
    assert server.headers(app_call=False) == {"Authorization": "Bearer pla_x"}


def test_an_api_key_serves_the_calls_of_an_app_only(data: Path) -> None:
    server = find_server({"POLYGLOT_URL": "http://h:1", "POLYGLOT_ADMIN_TOKEN": "pla_x", "POLYGLOT_API_KEY": "plk_y"})
    assert server.headers(app_call=True) == {"X-API-Key": "plk_y"}
    assert server.headers(app_call=False) == {"Authorization": "Bearer pla_x"}


def test_the_token_file_of_the_data_directory_is_found_where_the_socket_is_not(data: Path) -> None:
    (data / "admin.sock").unlink()
    (data / "admin.token").write_text("pla_file\n")
    server = find_server({"POLYGLOT_DATA": str(data)})
    assert (server.socket, server.admin_token) == (None, "pla_file")


def test_with_nothing_set_the_daemons_defaults_are_tried(data: Path) -> None:
    assert find_server({}).url == "http://127.0.0.1:4000"
    (data.parent / "work" / "data").symlink_to(data)
    assert find_server({}).socket == Path("data/admin.sock")


@pytest.mark.parametrize(
    "environ", [{"POLYGLOT_DATA": "/nowhere/at/all"}, {"POLYGLOT_URL": "localhost:4000"}], ids=["data", "url"]
)
def test_a_setting_that_can_not_be_right_is_wrong_usage_that_names_it(environ: dict[str, str], data: Path) -> None:
    with pytest.raises(WrongUsage, match=next(iter(environ))):
        find_server(environ)
