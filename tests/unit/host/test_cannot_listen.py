"""What an operator is told where the daemon gets no address to listen on."""

import errno
import os
import socket

import pytest

from polyglotd.host.cannot_start import cannot_listen

CASES = {
    "in use": (
        errno.EADDRINUSE,
        "another process listens there; stop it, or choose another port with --port (0: any)",
    ),
    "not allowed": (errno.EACCES, "a port below 1024 takes rights that this user lacks; choose another with --port"),
    "not here": (errno.EADDRNOTAVAIL, "this machine has no such address; see [listen] host, or --host"),
    "anything else": (errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)}; see [listen], or --host and --port"),
}


@pytest.mark.parametrize(("number", "words"), CASES.values(), ids=CASES.keys())
def test_each_error_of_the_system_has_its_remedy(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number))
    assert cannot_listen("127.0.0.1", 80, error) == f"can't listen on 127.0.0.1 port 80: {words}"
    assert words in cannot_listen("127.0.0.1", 80, ExceptionGroup("", [ExceptionGroup("", [error])]))


def test_a_host_without_an_address_is_named() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert cannot_listen("nowhere", 80, error).startswith("can't listen on nowhere: no such host (Name or service")


def test_what_is_no_error_of_the_system_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        cannot_listen("127.0.0.1", 80, ExceptionGroup("", [ZeroDivisionError()]))
    with pytest.raises(ExceptionGroup):
        cannot_listen("127.0.0.1", 80, ExceptionGroup("", [OSError(errno.EADDRINUSE, ""), ZeroDivisionError()]))
