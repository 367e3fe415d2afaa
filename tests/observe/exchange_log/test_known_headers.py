"""Header lines are shown from memory as they would be without it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taken import Taken

from openai_proxy.exchange.bounded_memo import memo_of
from openai_proxy.observe.exchange_log import known_headers
from openai_proxy.observe.exchange_log.known_headers import Headers, read_headers
from openai_proxy.observe.redaction import shown_headers

HEADS = [
    [],
    [(b"Host", b"a"), (b"Content-Type", b"Application/JSON"), (b"Content-Length", b"12")],
    [(b"Authorization", b"Bearer sk-canary-0001"), (b"Cookie", b"s=canary-in-cookie; t=another-canary")],
    [
        (b"Vary", b"a"),
        (b"Vary", b"b"),
        (b"vary", b"c"),
        (b"Content-Encoding", b"gzip"),
        (b"content-encoding", b"BR"),
    ],
    [
        (b"X-Sk-canary-12345678", b"v"),
        (b"X-Unknown", b"long enough to be a secret"),
        (b"X-Long", b"a" * 5000),
    ],
]


@pytest.mark.parametrize("pairs", HEADS, ids=range(len(HEADS)))
def test_memory_changes_nothing(pairs):
    """What is shown and blotted out is the same the first time, the second time and without memory."""
    for _ in range(2):
        read = read_headers(pairs)
        assert read.shown == shown_headers(pairs)
        assert list(read.shown) == list(shown_headers(pairs))


def test_type_and_codings_are_told():
    """The body is read as what its headers say, in whatever case and however many lines they say it."""
    assert read_headers(HEADS[1]).media_type == b"application/json"
    assert read_headers(HEADS[3]).coding == b"gzip,br"
    assert read_headers(None) == Headers({})


def test_many_different_lines_are_shown_rightly():
    """Lines that were forgotten are found out again."""
    for n in range(5000):
        pairs = [(b"X-Request-Id", b"req-%d" % n), (b"api-key", b"canary-%08d" % n)]
        read = read_headers(pairs)
        assert read.shown == {"X-Request-Id": f"req-{n}", "api-key": "[redacted]"}


@pytest.mark.parametrize("size", [10, 300])
def test_long_lines_tell_as_much_as_short_ones(size):
    """What is too long to be remembered is blotted out and read all the same."""
    secret, kind = b"canary-" + b"x" * size, b"Text/Event-Stream; a=" + b"b" * size
    pairs = [(b"Authorization", b"Bearer " + secret), (b"Content-Type", kind)]
    for _ in range(2):
        read = read_headers(pairs)
        assert read.media_type == b"text/event-stream"
        assert read.shown == shown_headers(pairs)


def test_lines_with_credentials_are_not_kept():
    """Nothing here holds a client's key after its line was written, nor what may be one."""
    pairs = [
        (b"Authorization", b"Bearer canary-in-memory-1"),
        (b"X-Whatever", b"canary-in-memory-2"),
        (b"User-Agent", b"curl sk-canary-in-memory-3"),
        (b"x-sk-canary-in-memory-4", b"1"),
    ]
    read_headers(pairs)
    assert "canary-in-memory" not in repr(memo_of(known_headers._shown_line))


FIELDS = [
    b"Content-Type",
    b"x-request-id",
    b"Vary",
    b"User-Agent",
    b"X-Unknown",
    b"Authorization",
    b"x-sk-" + b"a1" * 9,
]
VALUES = [
    b"a",
    b"text/event-stream; x=1",
    b"sk-abcdefgh12345678",
    b"0123456789",
    b"",
    b"b" * 300,
    b"\xe9%20a=b",
    b"token=x",
]


def test_lines_from_memory_are_those_without():
    """Whatever was met before, in whatever company."""
    lines = st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(VALUES)), min_size=2, max_size=8)
    with Taken() as note:

        @given(lines)
        def check(pairs):
            memo = memo_of(known_headers._shown_line)
            note(any(pair in memo for pair in pairs))
            assert read_headers(pairs).shown == shown_headers(pairs)
            assert [pair for pair in memo if b"sk-" in pair[0] + pair[1]] == []

        check()
