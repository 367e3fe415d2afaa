"""Which pages of the web may call."""

import pytest

from openai_proxy.exchange.access_errors import OriginNotAllowed
from openai_proxy.wire.web_origins import (
    WebOrigins,
    is_own_name,
    is_preflight,
    normal_origin,
    page_marks,
    readable,
)

INJECT = WebOrigins(guards=True)
LISTED = WebOrigins(frozenset([b"http://app.test:80", b"https://two.test:8443"]))


def verdict(origins, *lines, scheme=b"http", host=b"proxy.test", loopback=False, page=False):
    """Return whether a request with these lines may call."""
    marks = page_marks(list(lines))
    if marks is None:
        return True
    try:
        origins.check(marks, scheme, host, loopback, is_page=page)
    except OriginNotAllowed:
        return False
    return True


def test_programs_are_not_judged():
    """Without a browser's headers nothing changes."""
    assert page_marks([(b"Authorization", b"Bearer x"), (b"User-Agent", b"Mozilla/5.0")]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"https://App.test", b"https://app.test:443"),
        (b"http://app.test:80", b"http://app.test:80"),
        (b"http://[::1]:3000", b"http://[::1]:3000"),
        (b"chrome-extension://abc", b"chrome-extension://abc"),
        (b"null", None),
        (b"http://app.test/", None),
        (b"http://a.test, http://b.test", None),
        (b"http://user@app.test", None),
        (b"http://app.test:80 ", None),
    ],
)
def test_origins_have_one_form(text, expected):
    """Case and the default port make no other origin; what is no origin matches none."""
    assert normal_origin(text) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(b"Origin", b"http://proxy.test")], True),
        ([(b"Origin", b"http://PROXY.test:80")], True),
        ([(b"origin", b"https://proxy.test")], False),
        ([(b"Origin", b"http://proxy.test:8080")], False),
        ([(b"Origin", b"http://evil.test")], False),
        ([(b"Origin", b"null")], False),
        ([(b"Origin", b"http://proxy.test"), (b"Origin", b"http://evil.test")], False),
        ([(b"Sec-Fetch-Site", b"cross-site")], False),
        ([(b"Sec-Fetch-Site", b"same-origin")], True),
        ([(b"Sec-Fetch-Site", b"none")], True),
        ([(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate")], False),
    ],
)
def test_in_inject_mode_only_own_pages_call(lines, expected):
    """Any other page could spend the key."""
    assert verdict(INJECT, *lines) is expected


def test_a_link_to_our_own_pages_works():
    """Following a link is no call of the other page's script."""
    link = [(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate")]
    assert verdict(INJECT, *link, page=True)
    assert not verdict(INJECT, (b"Sec-Fetch-Site", b"cross-site"), page=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"localhost:8080", True),
        (b"127.0.0.1:8080", True),
        (b"[::1]:8080", True),
        (b"192.168.1.7", True),
        (b"ui.localhost", True),
        (b"llm.test:8080", True),
        (b"evil.example", False),
        (b"localhost.evil.example:8080", False),
        (b"127.0.0.1.evil.example", False),
        (b"", False),
        (None, False),
    ],
)
def test_rebinding_is_seen_by_the_host(host, expected):
    """A stranger's name that was pointed at this machine is none of ours; only browsers are asked."""
    assert verdict(INJECT, (b"Sec-Fetch-Site", b"same-origin"), host=host, loopback=True) is expected
    assert verdict(INJECT, host=host, loopback=True)
    assert verdict(INJECT, (b"Sec-Fetch-Site", b"same-origin"), host=host, loopback=False)


def test_the_host_of_a_listed_origin_is_ours():
    """`cors.origins` names it."""
    origins = WebOrigins(frozenset([b"http://app.example:80"]), guards=True)
    assert verdict(origins, (b"Origin", b"http://app.example"), host=b"app.example:8080", loopback=True)
    assert not verdict(origins, (b"Origin", b"http://app.example"), host=b"evil.example", loopback=True)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (b"http://app.test", True),
        (b"HTTP://APP.TEST:80", True),
        (b"https://two.test:8443", True),
        (b"https://two.test", False),
        (b"http://app.test.evil.test", False),
        (b"null", False),
    ],
)
def test_listed_origins_call(origin, expected):
    """Others do not."""
    assert verdict(LISTED, (b"Origin", origin)) is expected
    assert bool(LISTED.readable_by(origin)) is expected


def test_all_origins():
    """`*` names the origin that asks, `null` too."""
    every = WebOrigins(frozenset([b"*"]))
    assert verdict(every, (b"Origin", b"null"))
    assert every.readable_by(b"http://x.test")[0] == (b"access-control-allow-origin", b"http://x.test")


def test_only_a_browsers_question_is_a_preflight():
    """OPTIONS without an origin or without the method it asks for is a request like others."""
    origin, method = (b"Origin", b"http://a.test"), (b"Access-Control-Request-Method", b"POST")
    assert is_preflight(b"OPTIONS", page_marks([origin, method]))
    assert not is_preflight(b"OPTIONS", page_marks([origin]))
    assert not is_preflight(b"OPTIONS", page_marks([method]))
    assert not is_preflight(b"POST", page_marks([origin, method]))
    assert not is_preflight(b"OPTIONS", page_marks([]))


def test_our_lines_take_the_place_of_the_upstreams():
    """One allow-origin only; other Vary lines stay, and Origin stands in them once."""
    lines = LISTED.readable_by(b"http://app.test")
    upstream = [(b"Access-Control-Allow-Origin", b"*"), (b"Vary", b"Accept-Encoding"), (b"X", b"1")]
    assert readable(upstream, lines) == [(b"Vary", b"Accept-Encoding"), (b"X", b"1"), *lines]
    assert readable([(b"Vary", b"origin, X")], lines) == [(b"Vary", b"origin, X"), lines[0]]


def test_errors_are_readable():
    """Any page may read them, unless the origins are listed: then those."""
    headers = [(b"Origin", b"http://app.test")]
    assert WebOrigins().error_lines([]) == []
    assert WebOrigins().error_lines(headers)[0] == (b"access-control-allow-origin", b"*")
    assert WebOrigins().error_lines([], whole=False)[0] == (b"access-control-allow-origin", b"*")
    assert LISTED.error_lines(headers)[0] == (b"access-control-allow-origin", b"http://app.test")
    assert LISTED.error_lines([(b"Origin", b"http://evil.test")]) == []


def test_asked_headers_can_not_break_the_answer():
    """What a browser asks for is repeated only if it is a list of names."""
    lines = dict(LISTED.preflight_lines(b"http://app.test", b"x-a, x-b", (b"GET", b"POST")))
    assert lines[b"access-control-allow-headers"] == b"x-a, x-b"
    assert lines[b"access-control-allow-methods"] == b"GET, POST"
    assert lines[b"access-control-max-age"] == b"600"
    odd = dict(LISTED.preflight_lines(b"http://app.test", b'x"a', (b"GET",)))
    assert odd[b"access-control-allow-headers"] == b"authorization, content-type"


def test_own_names():
    """An address and localhost cannot be pointed elsewhere by DNS."""
    assert is_own_name(b"LOCALHOST")
    assert not is_own_name(b"localhost.example")
