"""Header lines about bodies are read and changed in their place."""

from openai_proxy.wire.body_headers import ask_identity, media_type_and_coding, with_length


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


def test_a_new_length_takes_the_place_of_the_old_one():
    """If there was none, there is none afterwards."""
    lines = [(b"Accept-Encoding", b"gzip"), (b"content-length", b"5"), (b"X", b"y")]
    changed = with_length(ask_identity(lines), 17)
    assert changed == [(b"Accept-Encoding", b"identity"), (b"content-length", b"17"), (b"X", b"y")]
    assert with_length([], 17) == []
