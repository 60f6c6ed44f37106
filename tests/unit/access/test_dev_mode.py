"""The fence of development mode, and the literals behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.access import dev_mode
from polyglotd.model import ALL_SCOPES, Forbidden, Unauthorized

LOCAL = [
    "localhost",
    "localhost:4000",
    "LOCALHOST:4000",
    "LocalHost",
    "127.0.0.1",
    "127.0.0.1:80",
    "127.0.0.1:65535",
    "127.1.2.3:4000",
    "127.255.255.255",
    "[::1]",
    "[::1]:4000",
    "[0:0:0:0:0:0:0:1]:4000",
]
FOREIGN = [
    "",
    " ",
    "evil.com",
    "localhost.evil.com",
    "localhost.evil.com:4000",
    "evil.localhost",
    "app.localhost:4000",
    "localhost.",
    "localhost.:4000",
    "localhost@evil.com",
    "evil.com@localhost",
    "user:pass@localhost:4000",
    "localhost:4000@evil.com",
    "127.0.0.1.evil.com",
    "127.0.0.1.nip.io",
    "127.0.0.1.",
    "127.0.0.1@evil.com",
    "127.1",
    "127.0.1",
    "127.0.0.1.1",
    "127.0.0.256",
    "127.0.0.01",
    "0127.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "128.0.0.1",
    "126.255.255.255",
    "0.0.0.0",
    "10.0.0.1",
    "192.168.1.5:4000",
    "169.254.169.254",
    "[::]",
    "[::2]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::1%lo]",
    "[::1%25lo]",
    "[::1]evil.com",
    "[::1].evil.com",
    "[127.0.0.1]",
    "[localhost]",
    "[]",
    "[::1",
    "::1",
    "::1:4000",
    "localhost:",
    "localhost:-1",
    "localhost:+80",
    "localhost:65536",
    "localhost:4000:4000",
    "localhost:4000/",
    "localhost/..",
    "localhost?x",
    "localhost#x",
    "localhost\\evil.com",
    "localhost,evil.com",
    "localhost evil.com",
    "localhost\t",
    " localhost",
    "localhost\n",
    "localhost\r\nHost: x",
    "localhost\0",
    "loc%61lhost",
    "ⓛocalhost",
    "localhost。evil.com",
    "127。0。0。1",
    "１２７.0.0.1",
    "localhost:４０００",
    "ſocalhost",
    "http://localhost",
    "*",
    "null",
    "xn--localhost",
]


def check(host="localhost:4000", *more):
    headers = [("accept", "*/*"), *more]
    dev_mode.check_local(headers if host is None else [("host", host), *headers])


@pytest.mark.parametrize("host", LOCAL)
def test_a_local_host_passes(host):
    check(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused(host):
    with pytest.raises(Forbidden, match="Host"):
        check(host)


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
@pytest.mark.parametrize("host", LOCAL)
def test_a_page_of_this_machine_passes_at_any_port(scheme, host):
    check("localhost:4000", ("origin", f"{scheme}://{host}"))


@pytest.mark.parametrize("host", FOREIGN)
def test_a_page_of_another_host_is_refused(host):
    with pytest.raises(Forbidden, match="Origin"):
        check("localhost:4000", ("origin", f"http://{host}"))


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "localhost:4000",
        "localhost",
        "//localhost",
        "file://",
        "file:///tmp/page.html",
        "file://localhost",
        "ftp://localhost",
        "ws://localhost",
        "chrome-extension://localhost",
        "javascript://localhost",
        "http:localhost",
        "http:/localhost",
        "http:///localhost",
        "http://",
        "http://localhost/",
        "http://localhost/evil",
        "http://localhost http://evil.com",
        "http://evil.com http://localhost",
        "http://localhost, http://evil.com",
        "http://user@localhost",
        "http://localhost@evil.com",
        "http://evil.com#http://localhost",
        "http://evil.com?http://localhost",
        "blob:http://localhost",
        " http://localhost",
        "http://localhost\n",
    ],
)
def test_an_origin_that_is_no_local_web_page_is_refused(origin):
    with pytest.raises(Forbidden, match="Origin"):
        check("localhost:4000", ("origin", origin))


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "Forwarded",
        "x-forwarded-for",
        "X-Forwarded-For",
        "X-FORWARDED-HOST",
        "x-forwarded-proto",
        "x-forwarded-anything",
        "x-real-ip",
        "X-Real-IP",
    ],
)
@pytest.mark.parametrize("value", ["", "127.0.0.1", "203.0.113.9"])
def test_a_request_that_a_proxy_brought_is_refused_whatever_it_says(name, value):
    with pytest.raises(Forbidden, match="forwarded"):
        check("localhost:4000", (name, value))


def test_a_request_without_host_is_refused():
    with pytest.raises(Forbidden):
        check(None)


@pytest.mark.parametrize("second", ["localhost:4000", "evil.com"])
def test_a_request_with_two_hosts_is_refused(second):
    with pytest.raises(Forbidden):
        check("localhost:4000", ("Host", second))


@pytest.mark.parametrize("second", ["http://localhost", "http://evil.com"])
def test_a_request_with_two_origins_is_refused(second):
    with pytest.raises(Forbidden):
        check("localhost:4000", ("origin", "http://localhost"), ("Origin", second))


def test_a_local_origin_does_not_make_up_for_a_foreign_host():
    """DNS rebinding: the page's name resolves to loopback, and to its browser the request is of the same origin."""
    for origin in ("http://localhost:4000", "http://evil.com:4000"):
        with pytest.raises(Forbidden):
            check("evil.com:4000", ("origin", origin))


@given(st.text(max_size=20))
def test_a_host_with_anything_before_or_behind_is_refused_or_still_local(text):
    from ipaddress import ip_address

    for host in (f"{text}localhost", f"localhost{text}", f"{text}127.0.0.1", f"127.0.0.1{text}"):
        try:
            check(host)
        except Forbidden:
            continue
        name = host.lower().partition(":")[0]
        assert name == "localhost" or ip_address(name).is_loopback


def test_the_origin_rule_of_the_mode_is_the_fences():
    rule = dev_mode.LocalOrigins()

    assert rule.allows(None, "localhost:4000")
    assert rule.allows("http://localhost:5173", "localhost:4000")
    assert not rule.allows("http://evil.com", "evil.com")
    assert not rule.allows("null", "localhost:4000")


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("::1%lo", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("", False),
        ("example.com", False),
    ],
)
def test_the_mode_listens_on_loopback_only(host, may):
    assert dev_mode.may_listen_on(host) is may


def test_the_literal_key_has_all_scopes_in_its_one_app():
    key = dev_mode.dev_key("valid_key_chat-app", "chat-app")

    assert key.scopes == ALL_SCOPES
    assert dev_mode.dev_key("valid_key_chat-app", "other-app") is None
    assert dev_mode.dev_key("valid_key_other-app", "other-app") is None
    assert dev_mode.dev_key("valid_key_chat-app ", "chat-app") is None
    assert dev_mode.dev_key("", "chat-app") is None


def test_a_literal_token_is_good_for_its_user_in_its_one_app():
    grant = dev_mode.dev_grant("valid_token_ann", "chat-app", now_us=10)

    assert (grant.user_id, grant.app_id, grant.capabilities) == ("ann", "chat-app", None)
    assert grant.exp_us > grant.iat_us == 10
    assert dev_mode.dev_grant("valid_token_ann", "other-app", now_us=10) is None
    assert dev_mode.dev_grant("Valid_token_ann", "chat-app", now_us=10) is None
    assert dev_mode.dev_grant("eyJ.e30.x", "chat-app", now_us=10) is None


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
def test_a_literal_token_of_no_user_is_refused(name):
    with pytest.raises(Unauthorized):
        dev_mode.dev_grant(f"valid_token_{name}", "chat-app", now_us=0)
