"""Bodies are kept up to the limit and known by their digest beyond it."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.observe.exchange_log.capture import BodyCapture


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 60))
def test_any_split_gives_the_same_record(chunks, limit):
    """However the reads cut a body, its head, length and digest are the same."""
    capture = BodyCapture(limit)
    assert [capture.feed(chunk) for chunk in chunks] == chunks
    assert capture.finish() == b""
    whole = b"".join(chunks)
    assert capture.body() == whole[:limit]
    assert capture.total_bytes == len(whole)
    assert capture.truncated == (len(whole) > limit)
    assert capture.sha256() == hashlib.sha256(whole).hexdigest()


def test_unhashed_overflow_has_no_digest():
    """A digest of a part is never shown as that of the whole."""
    capture = BodyCapture(2)
    capture.hashed = False
    capture.feed(b"abc")
    assert (capture.body(), capture.sha256()) == (b"ab", None)
