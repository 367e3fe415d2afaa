"""What answers in brotli and zstandard hold is found out piece by piece, in bounded memory."""

import os

import pytest

from openai_proxy.unpacking import maybe_unpack

brotli = pytest.importorskip("brotli")
zstandard = pytest.importorskip("zstandard")

CODINGS = pytest.mark.parametrize(
    ("coding", "compress"), [(b"br", brotli.compress), (b"zstd", zstandard.compress)]
)


@CODINGS
@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_pieces_add_up(coding, compress, step):
    """However the network cuts it."""
    data = os.urandom(500).hex().encode() * 50
    sent = compress(data)
    pieces = []
    unpack = maybe_unpack(coding, pieces.append)
    for at in range(0, len(sent), step):
        unpack(sent[at : at + step])
    assert b"".join(pieces) == data


@CODINGS
def test_a_bomb_comes_in_pieces_and_can_be_stopped(coding, compress):
    """A few kilobytes that expand to ten million bytes cost no memory."""
    sizes = []

    def write(piece):
        sizes.append(len(piece))
        if len(sizes) == 10:
            raise BufferError

    with pytest.raises(BufferError):
        maybe_unpack(coding, write)(compress(b"\0" * 10_000_000))
    assert max(sizes) <= 256 * 1024


@CODINGS
def test_broken_data_raises(coding, compress):
    """The reader then goes by the size."""
    with pytest.raises(Exception, match=r"decod|decompress"):
        maybe_unpack(coding, print)(b"this is neither of them" * 10)


def test_other_codings_are_not_known():
    """Those of zlib are read without this."""
    assert maybe_unpack(b"gzip", print) is None
    assert maybe_unpack(b"br, gzip", print) is None
