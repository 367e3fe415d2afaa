"""A stored response, written down and read back by another process."""

import gzip

import brotli
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.usage import TokenKinds, Usage
from openai_proxy.policies.cache.entry import BadEntry, CacheEntry, dump_entry, load_entry, make_entry

KEY = b"k" * 32
MIB = 1024 * 1024

tokens = st.integers(0, 2**53)
entries = st.builds(
    CacheEntry,
    reason=st.binary(max_size=10),
    headers=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=4),
    chunks=st.lists(st.binary(max_size=300), max_size=6).map(tuple),
    stored_at=st.floats(0, 2e9),
    usage=st.none()
    | st.builds(
        Usage,
        tokens,
        tokens,
        tokens,
        tokens,
        st.booleans(),
        st.none() | st.builds(TokenKinds, tokens, tokens),
    ),
)


def members(entry):
    return entry.reason, entry.headers, entry.chunks, entry.stored_at, entry.usage


@given(entries, st.sampled_from([0, 100, MIB]))
def test_an_entry_survives_being_written_down(entry, compress_bytes):
    """Another daemon replays the same bytes in the same pieces."""
    assert members(load_entry(KEY, dump_entry(KEY, entry, compress_bytes), MIB)) == members(entry)


@given(entries, st.data())
def test_a_damaged_value_is_no_entry(entry, data):
    """One wrong byte anywhere, or a missing end, and nothing of it is served."""
    value = bytearray(dump_entry(KEY, entry, 0))
    at = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(BadEntry):
        load_entry(KEY, bytes(value[:at]), MIB)
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadEntry):
        load_entry(KEY, bytes(value), MIB)


def test_a_value_of_another_name_is_no_entry():
    """A store that answers with somebody else's value gives a miss, not a foreign answer."""
    entry = CacheEntry(b"OK", [], (b"mine",), 0.0)
    with pytest.raises(BadEntry):
        load_entry(b"l" * 32, dump_entry(KEY, entry, 0), MIB)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_entry(value):
    """What somebody else wrote under our name is a miss, never a crash."""
    with pytest.raises(BadEntry):
        load_entry(KEY, value, MIB)


def test_unpacking_is_bounded():
    """A small value that unpacks to a large one does not fill the memory."""
    value = dump_entry(KEY, CacheEntry(b"OK", [], (b"0" * MIB,), 0.0), 1024)
    assert len(value) < 10_000
    with pytest.raises(BadEntry):
        load_entry(KEY, value, MIB // 2)


def test_a_compressed_body_is_not_compressed_again():
    """The upstream's coding is kept as it came."""
    entry = CacheEntry(b"OK", [(b"Content-Encoding", b"gzip")], (b"0" * 10_000,), 0.0)
    assert len(dump_entry(KEY, entry, 1024)) > 10_000


def test_what_belongs_to_one_exchange_is_not_stored():
    """No cookie, date or rate limit of the first client reaches the second."""
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Date", b"now"),
        (b"Set-Cookie", b"s=1"),
        (b"X-RateLimit-Remaining-Requests", b"1"),
        (b"X-Request-Id", b"r"),
        (b"Age", b"5"),
        (b"X-Cache", b"MISS from elsewhere"),
    ]
    entry = make_entry(b"OK", headers, [b"{}"], 0.0, None)
    assert entry.headers == [headers[0], headers[4]]


def test_a_body_of_another_length_is_not_stored():
    """A body that is not as long as announced was not whole."""
    assert make_entry(b"OK", [(b"Content-Length", b"3")], [b"{}"], 0.0, None) is None
    assert make_entry(b"OK", [(b"Content-Length", b"2")], [b"{", b"}"], 0.0, None).chunks == (b"{}",)


def test_an_error_is_not_stored():
    """An overload that an upstream reported in a stream's event was repeated for an hour."""
    stream = [(b"Content-Type", b"text/event-stream")]
    events = [b'data: {"error":{"message":"overloaded"}}\n\n', b"data: [DONE]\n\n"]
    assert make_entry(b"OK", stream, events, 0.0, None) is None
    assert make_entry(b"OK", stream, events[1:], 0.0, None) is not None
    document = [(b"Content-Type", b"application/json")]
    assert make_entry(b"OK", document, [b'{"data":[1'], 0.0, None) is None


@pytest.mark.parametrize(("coding", "pack"), [(b"gzip", gzip.compress), (b"br", brotli.compress)])
def test_a_compressed_answer_is_looked_into(coding, pack):
    """An error in gzip was quoted for an hour, one in plain JSON was not."""

    def kept(body):
        lines = [(b"Content-Type", b"application/json"), (b"Content-Encoding", coding)]
        return make_entry(b"OK", lines, [body], 0.0, None) is not None

    assert kept(pack(b'{"data":[1]}'))
    assert not kept(pack(b'{"error":{"message":"overloaded"}}'))
    assert not kept(pack(b'{"data":[1'))
    assert not kept(pack(b'{"data":[1]}')[:-4])
    assert not kept(b"in no coding that anybody knows")


def test_what_cannot_be_looked_into_is_not_kept():
    """It may be an error."""
    lines = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"x-foo")]
    assert make_entry(b"OK", lines, [b'{"data":[1]}'], 0.0, None) is None


def test_a_stream_keeps_its_pieces():
    """Events are replayed as they came; a plain body in pieces that fit a socket's buffer."""
    stream = [(b"content-type", b"text/event-stream; charset=utf-8")]
    assert make_entry(b"OK", stream, [b"data: 1\n\n", b"data"], 0.0, None).chunks == (b"data: 1\n\n", b"data")
    assert [len(c) for c in make_entry(b"OK", [], [b"x" * 100_000], 0.0, None).chunks] == [65536, 34464]


def test_overhead_counts():
    """A thousand tiny chunks weigh more than one of the same bytes."""
    whole = CacheEntry(b"OK", [], (b"x" * 1000,), 0.0)
    assert evolve(whole, chunks=(b"x",) * 1000).size_bytes > 10 * whole.size_bytes


def test_age_is_never_negative():
    """Two machines' clocks may differ."""
    entry = CacheEntry(b"OK", [], (), 100.0)
    assert (entry.age_s(99.0), entry.age_s(107.9)) == (0, 7)
