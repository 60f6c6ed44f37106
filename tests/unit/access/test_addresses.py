"""Whose address counts, behind proxies that are trusted and some that are not."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.access.addresses import address_key, client_address, parse_networks

TRUSTED = parse_networks(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])
XFF, FWD = "x-forwarded-for", "forwarded"


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", id="direct"),
        pytest.param("203.0.113.9", [(XFF, "1.1.1.1")], "203.0.113.9", id="an untrusted peer is not believed"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a proxy that forwards nothing"),
        pytest.param("10.0.0.1", [(XFF, "203.0.113.9")], "203.0.113.9", id="one hop"),
        pytest.param("10.0.0.1", [("X-Forwarded-For", "203.0.113.9")], "203.0.113.9", id="any case"),
        pytest.param("10.0.0.1", [(XFF, "6.6.6.6, 203.0.113.9")], "203.0.113.9", id="what the client sent is left"),
        pytest.param("10.0.0.1", [(XFF, "junk, 203.0.113.9")], "203.0.113.9", id="junk from the client"),
        pytest.param("10.0.0.1", [(XFF, "203.0.113.9, 10.0.0.2")], "203.0.113.9", id="two hops"),
        pytest.param("10.0.0.1", [(XFF, "6.6.6.6,203.0.113.9,10.9.9.9")], "203.0.113.9", id="two hops and a lie"),
        pytest.param("10.0.0.1", [(XFF, "203.0.113.9"), (XFF, "10.0.0.2")], "203.0.113.9", id="two headers"),
        pytest.param("10.0.0.1", [(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3", id="proxies only"),
        pytest.param("10.0.0.1", [(XFF, "junk")], "10.0.0.1", id="malformed"),
        pytest.param("10.0.0.1", [(XFF, "junk, 10.0.0.2")], "10.0.0.1", id="malformed behind a proxy"),
        pytest.param("10.0.0.1", [(XFF, "")], "10.0.0.1", id="empty"),
        pytest.param("10.0.0.1", [(XFF, "203.0.113.9,")], "10.0.0.1", id="an empty entry"),
        pytest.param("10.0.0.1", [(XFF, "unknown")], "10.0.0.1", id="unknown"),
        pytest.param("10.0.0.1", [(XFF, "203.0.113.9:5555")], "203.0.113.9", id="with port"),
        pytest.param("10.0.0.1", [(XFF, "2001:db8::9")], "2001:db8::9", id="IPv6"),
        pytest.param("10.0.0.1", [(XFF, "2001:DB8:0:0::9")], "2001:db8::9", id="IPv6, written otherwise"),
        pytest.param("10.0.0.1", [(XFF, "[2001:db8::9]:443")], "2001:db8::9", id="IPv6 with port"),
        pytest.param("10.0.0.1", [(XFF, "::ffff:203.0.113.9")], "203.0.113.9", id="mapped IPv4"),
        pytest.param("10.0.0.1", [(XFF, "fe80::1%eth0")], "10.0.0.1", id="a zone"),
        pytest.param("10.0.0.1", [(XFF, "203.0.113.9\x00")], "10.0.0.1", id="control character"),
        pytest.param("::ffff:10.0.0.1", [(XFF, "203.0.113.9")], "203.0.113.9", id="mapped peer"),
        pytest.param("fd00::1", [(XFF, "203.0.113.9")], "203.0.113.9", id="IPv6 proxy"),
        pytest.param("192.0.2.1", [(XFF, "203.0.113.9")], "203.0.113.9", id="a single trusted address"),
        pytest.param("", [(XFF, "203.0.113.9")], "", id="no peer address (a Unix socket)"),
        pytest.param("10.0.0.1", [(FWD, "for=203.0.113.9")], "203.0.113.9", id="Forwarded"),
        pytest.param("10.0.0.1", [(FWD, "For=203.0.113.9;proto=http;by=10.0.0.1")], "203.0.113.9", id="parameters"),
        pytest.param("10.0.0.1", [(FWD, 'for="[2001:db8::9]:4711"')], "2001:db8::9", id="quoted IPv6"),
        pytest.param("10.0.0.1", [(FWD, "for=6.6.6.6, for=203.0.113.9")], "203.0.113.9", id="Forwarded and a lie"),
        pytest.param("10.0.0.1", [(FWD, 'for="x, for=203.0.113.9')], "203.0.113.9", id="an open quote"),
        pytest.param("10.0.0.1", [(FWD, "for=_hidden")], "10.0.0.1", id="hidden"),
        pytest.param("10.0.0.1", [(FWD, "proto=https")], "10.0.0.1", id="no for"),
        pytest.param("10.0.0.1", [(FWD, "for=1.1.1.1;for=2.2.2.2")], "10.0.0.1", id="for twice in an element"),
        pytest.param("10.0.0.1", [(FWD, "for=9.9.9.9"), (XFF, "9.9.9.9")], "9.9.9.9", id="both agree"),
        pytest.param(
            "10.0.0.1", [(FWD, "for=6.6.6.6"), (XFF, "203.0.113.9")], "10.0.0.1", id="both, but differently"
        ),
        pytest.param("10.0.0.1", [(FWD, "junk"), (XFF, "203.0.113.9")], "10.0.0.1", id="both, one malformed"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(peer, headers, client):
    assert client_address(peer, headers, TRUSTED) == client


def test_without_trusted_proxies_nothing_forwarded_is_believed():
    assert client_address("10.0.0.1", [(XFF, "203.0.113.9")], ()) == "10.0.0.1"


@given(sent=st.text(max_size=40), real=st.ip_addresses(v=4).filter(lambda a: not a.is_private))
def test_whatever_a_client_sends_its_proxys_word_counts(sent, real):
    assert client_address("10.0.0.1", [(XFF, f"{sent}, {real}")], TRUSTED) == str(real)


@given(st.lists(st.tuples(st.sampled_from([XFF, FWD]), st.text(max_size=30)), max_size=4))
def test_whatever_is_forwarded_the_answer_is_an_address(headers):
    ipaddress.ip_address(client_address("10.0.0.1", headers, TRUSTED))


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_a_limit_counts_the_network_of_an_ipv6_customer_as_one(address, key):
    assert address_key(address) == key


@pytest.mark.parametrize("setting", ["10.0.0.1/8", "example.com", "", "10.0.0.0/33", "10.0.0"])
def test_a_setting_that_is_no_network_is_refused_with_what_is_wrong(setting):
    with pytest.raises(ValueError, match="neither an address nor a network"):
        parse_networks([setting])
