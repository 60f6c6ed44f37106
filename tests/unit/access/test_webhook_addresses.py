"""Which URLs a webhook may have, and which addresses it may be sent to."""

import ipaddress

import pytest

from polyglotd.access.addresses import parse_networks
from polyglotd.access.webhook_addresses import Allowed, Target, as_address, check_url, refused
from polyglotd.model import Invalid

NOTHING = Allowed()
EVERYTHING = Allowed(everything=True)
TEN = Allowed(networks=parse_networks(["10.0.0.0/8", "fd00::/8"]))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "224.0.0.1", "255.255.255.255",
        "198.18.0.1", "192.0.2.1", "203.0.113.9", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1",
        "2001:0:53aa:64c:0:7f00:1:1", "2001:db8::1", "100::1", "fec0::1", "::ffff:0:127.0.0.1",
    ],
)  # fmt: skip
def test_what_is_no_public_address_is_refused_unless_it_is_allowed(address: str) -> None:
    parsed = as_address(address)
    assert parsed is not None
    assert refused(parsed, "https", NOTHING)
    assert refused(parsed, "http", NOTHING)
    assert refused(parsed, "https", EVERYTHING) is None
    assert refused(parsed, "http", EVERYTHING) is None


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"]
)
def test_a_public_address_takes_https_alone(address: str) -> None:
    parsed = as_address(address)
    assert parsed is not None
    for allowed in (NOTHING, TEN, EVERYTHING):
        assert refused(parsed, "https", allowed) is None
        assert refused(parsed, "http", allowed)


def test_a_list_of_networks_admits_those_and_no_others() -> None:
    assert refused(ipaddress.ip_address("10.9.9.9"), "http", TEN) is None
    assert refused(ipaddress.ip_address("::ffff:10.9.9.9"), "https", TEN) is None
    assert refused(ipaddress.ip_address("fd00::1"), "https", TEN) is None
    assert refused(ipaddress.ip_address("127.0.0.1"), "https", TEN)
    assert refused(ipaddress.ip_address("64:ff9b::10.0.0.1"), "https", TEN)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/")),
        ("https://Example.com:8443/b%20c?x=1&y=%0d%0a", Target("https", "example.com", 8443, "/b%20c?x=1&y=%0d%0a")),
        ("https://xn--bcher-kva.example/hook", Target("https", "xn--bcher-kva.example", 443, "/hook")),
        ("https://[2606:4700::1111]:9/h", Target("https", "2606:4700::1111", 9, "/h")),
        ("https://1.1.1.1/h", Target("https", "1.1.1.1", 443, "/h")),
    ],
)  # fmt: skip
def test_a_good_url_comes_apart(url: str, target: Target) -> None:
    assert check_url(url, NOTHING) == target


def test_the_host_header_names_a_port_that_is_not_the_usual_one() -> None:
    assert check_url("https://[2606:4700::1111]:9/h", NOTHING).authority == "[2606:4700::1111]:9"
    assert check_url("https://example.com/", NOTHING).authority == "example.com"
    assert check_url("http://example.com:8080/", EVERYTHING).authority == "example.com:8080"


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/",
        "https://", "https:///path", "https://:443/", "https://example.com:0/", "https://example.com:99999/",
        "https://example.com:x/", "https://example.com:/", "https://user:pw@example.com/", "https://user@example.com/",
        "https://example.com@127.0.0.1/", "https://example.com/#part", "https://example.com#@evil.example/",
        "https://exam ple.com/", "https://example.com/a b", "https://example.com/\r\nX-Evil: 1",
        "https://example.com/\nGET / HTTP/1.1", "https://example.com/\x00", "https://example.com\\@evil.example/",
        "https://example.com/\x7f", "https://b\u00fccher.example/", "https://example\u3002com/", "https://ex*mple.com/",
        "https://example..com/", "https://[::1/", "https://[fe80::1%25eth0]/", "https://[not-v6]/", "https://%31/",
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest",
        "http://example.com/", "http://1.1.1.1/", "https://example.com/<a>", "https://e.com/" + "a" * 2_048,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_url_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_url(url, NOTHING)
    assert refusal.value.details()["field"] == "url"


def test_http_is_for_who_allows_private_addresses() -> None:
    assert check_url("http://10.0.0.1:8080/h", TEN).port == 8080
    assert check_url("http://hooks.internal/h", TEN).port == 80  # what it means is judged when it is known
    with pytest.raises(Invalid):
        check_url("http://192.168.0.1/h", TEN)
    with pytest.raises(Invalid):
        check_url("http://1.1.1.1/h", EVERYTHING)
