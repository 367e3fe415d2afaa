"""Header lines that are kept for an observer, as bytes."""

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wire.headers import scan_response
from openai_proxy.wire.kept_lines import KeptLines, kept_lines

TOKEN = st.text("abcXYZ-_019!#$", min_size=1, max_size=12).map(str.encode)
VALUE = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"", b": ", b"a: b: c", b":", b"a:b", b"\r\n", b"x\r\ny: z"])
)


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=8))
def test_the_same_lines_come_back(pairs):
    """What the exchange log shows of a stream's heads is what was sent, in order, repeated lines too."""
    kept = kept_lines(pairs)
    assert list(kept) == pairs
    assert len(kept) == len(pairs)
    assert [kept[at] for at in range(len(kept))] == pairs
    assert kept[1:] == pairs[1:]
    # only a line end inside a value is not distinguished from one after it
    assert isinstance(kept, KeptLines) == (not any(b"\r\n" in value for _, value in pairs))


def test_the_id_of_the_upstream_is_not_searched_for_again():
    """It was found when the head came."""
    lines = scan_response([(b"A", b"1"), (b"X-Request-ID", b" req_1 ")]).forward
    assert kept_lines(lines).request_id == b"req_1"


def test_no_value_is_shown():
    """Some lines are secrets, and a representation may stand in a log."""
    assert repr(kept_lines([(b"Authorization", b"Bearer sk-1")])) == "<KeptLines of 1 lines>"
