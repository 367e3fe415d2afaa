"""Header lines with the interface of twisted.web's Headers."""

from twisted.web.http_headers import Headers

from openai_proxy.net.twisted_headers import WireHeaders

PAIRS = [(b"X-One", b"1"), (b"Set-Cookie", b"a"), (b"x-one", b"2"), (b"SET-COOKIE", b"b")]


def test_lines_are_kept_and_looked_up_in_any_case():
    """The mapping is a view; the lines stay as they are."""
    headers = WireHeaders(PAIRS)
    assert headers.pairs == PAIRS
    assert headers.getRawHeaders(b"x-ONE") == [b"1", b"2"]
    assert headers.getRawHeaders("set-cookie") == ["a", "b"]
    assert headers.getRawHeaders(b"none") is None
    assert headers.getRawHeaders("none", ["x"]) == ["x"]
    assert headers.hasHeader("X-One")
    assert list(headers.getAllRawHeaders()) == [(b"X-One", [b"1", b"2"]), (b"Set-Cookie", [b"a", b"b"])]


def test_changes_leave_shared_lines_alone():
    """Whoever gave the lines keeps them unchanged."""
    shared = list(PAIRS)
    headers = WireHeaders(shared)
    headers.setRawHeaders("X-One", ["3"])
    headers.addRawHeader(b"X-Two", b"4")
    headers.removeHeader("set-cookie")
    assert shared == PAIRS
    assert headers.pairs == [(b"X-One", b"3"), (b"X-Two", b"4")]


def test_copies_and_conversions():
    """A copy is its own; other Headers become lines."""
    headers = WireHeaders(list(PAIRS))
    copy = headers.copy()
    copy.removeHeader(b"x-one")
    assert headers.hasHeader(b"x-one")
    assert WireHeaders.of(headers) is headers
    assert WireHeaders.of(None).pairs == []
    assert WireHeaders.of(Headers({b"a": [b"1", b"2"]})).pairs == [(b"A", b"1"), (b"A", b"2")]
    assert WireHeaders(PAIRS) == WireHeaders(list(PAIRS))


def test_repr_shows_no_value():
    """Some of the values are keys."""
    assert "secret" not in repr(WireHeaders([(b"Authorization", b"Bearer secret")]))
