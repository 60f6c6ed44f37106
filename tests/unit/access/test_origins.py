"""Which pages may connect, by setting."""

import pytest

from polyglotd.access.origins import AnyOrigin, ListedOrigins, cors_headers, parse_origins, preflight_headers

DEFAULT = parse_origins([])
LISTED = parse_origins(["https://app.example.com", "http://localhost:5173"])


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        pytest.param(None, "rt.example.com", True, id="no browser's page"),
        pytest.param(None, None, True, id="neither"),
        pytest.param("http://rt.example.com", "rt.example.com", True, id="same"),
        pytest.param("http://rt.example.com:4000", "rt.example.com:4000", True, id="same port"),
        pytest.param("http://RT.example.com:4000", "rt.EXAMPLE.com:4000", True, id="case"),
        pytest.param("https://rt.example.com", "rt.example.com", True, id="TLS ends at a proxy"),
        pytest.param("https://rt.example.com:443", "rt.example.com", True, id="the default port written"),
        pytest.param("http://rt.example.com", "rt.example.com:80", True, id="the default port of the host written"),
        pytest.param("http://[2001:db8::1]:4000", "[2001:db8::1]:4000", True, id="IPv6"),
        pytest.param("http://rt.example.com:4001", "rt.example.com:4000", False, id="another port"),
        pytest.param("http://rt.example.com", "rt.example.com:4000", False, id="the default port is not 4000"),
        pytest.param("http://evil.com", "rt.example.com", False, id="another host"),
        pytest.param("http://rt.example.com.evil.com", "rt.example.com", False, id="our name as a prefix"),
        pytest.param("http://evilrt.example.com", "rt.example.com", False, id="our name as a suffix"),
        pytest.param("http://rt.example.com@evil.com", "rt.example.com", False, id="our name as a user"),
        pytest.param("null", "rt.example.com", False, id="null"),
        pytest.param("null", "null", False, id="null twice"),
        pytest.param("", "rt.example.com", False, id="empty"),
        pytest.param("file://rt.example.com", "rt.example.com", False, id="a file"),
        pytest.param("http://rt.example.com", None, False, id="no Host"),
        pytest.param("http://rt.example.com", "", False, id="empty Host"),
        pytest.param("http://rt.example.com http://evil.com", "rt.example.com", False, id="two origins"),
    ],
)
def test_by_default_only_pages_of_the_same_origin_may_connect(origin, host, allowed):
    assert DEFAULT.allows(origin, host) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example.com", True),
        ("https://APP.example.com", True),
        ("https://app.example.com:443", True),
        ("http://localhost:5173", True),
        ("http://rt.example.com", True),  # the server's own stays
        ("http://app.example.com", False),
        ("https://app.example.com:8443", False),
        ("https://x.app.example.com", False),
        ("https://app.example.com.evil.com", False),
        ("http://localhost", False),
        ("null", False),
    ],
)
def test_listed_pages_may_connect_besides_by_exact_scheme_host_and_port(origin, allowed):
    assert LISTED.allows(origin, "rt.example.com") is allowed


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "", "anything"])
def test_a_star_lets_every_page_connect(origin):
    assert parse_origins(["*"]).allows(origin, "rt.example.com")


@pytest.mark.parametrize(
    "setting",
    [
        ["app.example.com"],
        ["https://app.example.com/"],
        ["https://app.example.com/path"],
        ["https://user@app.example.com"],
        ["https://"],
        ["https://*.example.com"],
        ["*", "https://app.example.com"],
        [""],
        ["null"],
        ["https://app.example.com:99999"],
        ["https://app.example.com "],
    ],
)
def test_a_setting_that_would_never_match_is_refused_with_advice(setting):
    with pytest.raises(ValueError, match="origin"):
        parse_origins(setting)


def test_cors_names_the_page_that_asked_and_says_that_answers_vary():
    headers = dict(cors_headers(LISTED, "https://app.example.com", "rt.example.com"))

    assert headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize("origin", [None, "https://evil.com", "null"])
@pytest.mark.parametrize("answer", [cors_headers, preflight_headers])
def test_a_foreign_page_gets_no_permission_but_caches_are_warned(answer, origin):
    assert answer(LISTED, origin, "rt.example.com") == [("Vary", "Origin")]


def test_a_preflight_allows_what_the_api_reads():
    headers = dict(preflight_headers(AnyOrigin(), "https://a.example", None))

    assert "X-API-Key" in headers["Access-Control-Allow-Headers"]
    assert "DELETE" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Max-Age"] == "600"


def test_the_default_rule_lists_nothing():
    assert ListedOrigins() == DEFAULT
