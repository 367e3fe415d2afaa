"""Compressed bodies are read, bombs are not unpacked."""

import gzip
import zlib

import brotli
import pytest
import zstandard

from openai_proxy.observe.exchange_log.decompress import decompressed

CODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": lambda data: data,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
}
LIMIT = 100_000


@pytest.mark.parametrize("encoding", CODERS)
@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000])
def test_body_within_the_limit_is_whole(encoding, size):
    """Every coding comes back as it was."""
    data = b"x" * size
    assert decompressed(CODERS[encoding](data), encoding, LIMIT) == (data, True)


@pytest.mark.parametrize("encoding", CODERS)
def test_bomb_is_cut_at_the_limit(encoding):
    """A small body that expands to 50 MB costs no more than the limit."""
    bomb = CODERS[encoding](b"\0" * 50_000_000)
    data, whole = decompressed(bomb, encoding, LIMIT)
    assert whole is False
    assert len(data) <= LIMIT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "rot13"])
def test_broken_or_unknown_is_none(encoding):
    """Nonsense is left as it is."""
    assert decompressed(b"this is not compressed", encoding, LIMIT) is None


def test_raw_deflate_is_read():
    """Some servers leave the zlib wrapper out."""
    coder = zlib.compressobj(wbits=-15)
    data = coder.compress(b"hello") + coder.flush()
    assert decompressed(data, "deflate", LIMIT) == (b"hello", True)
