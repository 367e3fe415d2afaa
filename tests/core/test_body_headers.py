"""Header lines about bodies are read and changed in their place."""

from openai_proxy.core.body_headers import ask_identity, media_type_and_coding, with_length
from openai_proxy.core.headers import render
from openai_proxy.core.plain_heads import plain_request
from openai_proxy.core.wire_lines import rendered


def test_type_and_coding():
    """Parameters and case do not count, and identity is no coding."""
    headers = [(b"Content-type", b"Text/Event-Stream; charset=utf-8"), (b"content-Encoding", b"GZIP")]
    assert media_type_and_coding(headers) == (b"text/event-stream", b"gzip")
    assert media_type_and_coding([(b"content-encoding", b"identity")]) == (b"", b"")


def test_identity_takes_the_place_of_what_was_asked():
    """One line asks for no compression, where the client's first stood."""
    headers = [(b"accept-encoding", b"gzip"), (b"X", b"1"), (b"Accept-Encoding", b"br")]
    assert ask_identity(headers) == [(b"accept-encoding", b"identity"), (b"X", b"1")]
    assert ask_identity([]) == [(b"Accept-Encoding", b"identity")]


def test_length_is_replaced_but_never_added():
    """A body sent in chunks stays so."""
    assert with_length([(b"Content-length", b"5"), (b"X", b"1")], 7) == [
        (b"Content-length", b"7"),
        (b"X", b"1"),
    ]
    assert with_length([(b"X", b"1")], 7) == [(b"X", b"1")]


def test_lines_that_know_their_bytes_still_do_behind_a_change():
    """Another length, another coding: the same lines as of a plain list, rendered the same."""
    plain = plain_request(
        b"POST /x HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nContent-Length: 5\r\nX: y"
    )
    assert plain is not None
    lines = plain[2].forward
    for headers in (lines, list(lines)):
        changed = with_length(ask_identity(headers), 17)
        assert changed == [(b"Accept-Encoding", b"identity"), (b"Content-Length", b"17"), (b"X", b"y")]
        assert rendered(changed) == render(changed)
    bare = plain_request(b"GET /x HTTP/1.1\r\nHost: a")
    assert bare is not None
    assert with_length(bare[2].forward, 17) == []


def test_other_lengths_of_the_same_lines_do_not_mix():
    """Lines remember a few of the lengths that they were given: each is its own, and so are their changes."""
    plain = plain_request(b"POST /y HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 5")
    assert plain is not None
    lines = plain[2].forward
    for size in (17, 18, 19, 17, 19, 5):
        changed = ask_identity(with_length(lines, size))
        assert changed == [(b"X", b"y"), (b"Content-Length", b"%d" % size), (b"Accept-Encoding", b"identity")]
        assert rendered(changed) == render(changed)
    assert with_length(lines, 5) is with_length(lines, 5)
