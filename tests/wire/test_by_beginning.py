"""A body is treated as what it is, not as what its label says."""

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wire.by_beginning import ByBeginning
from openai_proxy.wire.sse import begins_stream


class Marked:
    """Puts a letter before all that it is given."""

    def __init__(self, letter):
        self.letter = letter

    def feed(self, data):
        letter, self.letter = self.letter, b""
        return letter + data

    def finish(self):
        return self.letter + b"."


BODIES = [
    (b"data: {}\n\n", b"S"),
    (b"event: x\ndata: {}\n\n", b"S"),
    (b": comment\n\n", b"S"),
    (b"\xef\xbb\xbf\r\n\r\nid: 1\n", b"S"),
    (b'{"data:":1}', b"D"),
    (b"  {}", b"D"),
    (b"dat", b"D"),
    (b"date: x", b"D"),
    (b"\n" * 300 + b"{}", b"D"),
    (b"", b"D"),
]


@given(st.sampled_from(BODIES), st.lists(st.integers(1, 5)))
def test_the_beginning_decides_however_it_is_cut(case, sizes):
    """No byte is lost while it is undecided."""
    body, letter = case
    chosen = ByBeginning(lambda: Marked(b"S"), lambda: Marked(b"D"))
    out, at = b"", 0
    for size in [*sizes, len(body)]:
        out += chosen.feed(body[at : at + size])
        at += size
    assert out + chosen.finish() == letter + body + b"."


def test_a_first_line_is_enough():
    """An event is not held back."""
    assert begins_stream(b"data:") is True
    assert begins_stream(b"dat") is None
    assert begins_stream(b"{") is False
