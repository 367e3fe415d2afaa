"""One decoder for all content codings: the same bytes however they arrive, bounded output, linear time."""

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wire.codings import codings_of, maybe_decoded, maybe_decoder
from openai_proxy.wire.decoders import CodingError

PLAIN = bytes(range(256)) * 40 + b"data: {}\n\n" * 500


def bare_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def gzipped(data):
    return gzip.compress(data, mtime=0)


zstd = zstandard.ZstdCompressor().compress
SKIPPABLE = b"\x5a\x2a\x4d\x18\x03\0\0\0abc"

BODIES = {
    "nothing": (b"", PLAIN),
    "identity": (b"identity", PLAIN),
    "no coding by name": (b"None", PLAIN),
    "a charset": (b"UTF-8", PLAIN),
    "a charset and a coding": (b"utf8, gzip", gzipped(PLAIN)),
    "gzip": (b"gzip", gzipped(PLAIN)),
    "x-gzip": (b"X-Gzip", gzipped(PLAIN)),
    "gzip members": (b"gzip", gzipped(PLAIN[:11]) + gzipped(b"") + gzipped(PLAIN[11:])),
    "gzip padding": (b"gzip", gzipped(PLAIN) + b"\0" * 700),
    "gzip garbage": (b"gzip", gzipped(PLAIN) + b"\0garbage\x1f\x8b\xff"),
    "gzip half a magic": (b"gzip", gzipped(PLAIN) + b"\x1f\x8b"),
    "deflate": (b"deflate", zlib.compress(PLAIN)),
    "bare deflate": (b"deflate", bare_deflate(PLAIN)),
    "deflate garbage": (b"deflate", zlib.compress(PLAIN) + b"garbage"),
    "br": (b"br", brotli.compress(PLAIN)),
    "zstd": (b"zstd", zstd(PLAIN)),
    "zstd frames": (b"zstd", zstd(PLAIN[:11]) + SKIPPABLE + zstd(PLAIN[11:])),
    "zstd garbage": (b"zstd", zstd(PLAIN) + b"garbage"),
    "a list": (b"br, gzip", gzipped(brotli.compress(PLAIN))),
    "a long list": (b"zstd,,deflate ,BR,identity", brotli.compress(zlib.compress(zstd(PLAIN)))),
}


def drain(decoder, limit_bytes=4096):
    pieces = []
    while piece := decoder.next_piece(limit_bytes):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_decoded_whole_or_up_to_a_limit(name):
    """What is above the limit is missing, and the caller learns that."""
    coding, body = BODIES[name]
    assert maybe_decoded(body, coding, len(PLAIN)) == (PLAIN, True)
    assert maybe_decoded(body, coding, 1000) == (PLAIN[:1000], False)


@given(st.sampled_from(sorted(BODIES)), st.lists(st.integers(1, 400)), st.integers(1, 9000))
def test_any_split_gives_the_same(name, sizes, limit_bytes):
    """However the reads cut a body, and whatever pieces are asked for."""
    coding, body = BODIES[name]
    decoder = maybe_decoder(coding)
    out, at = b"", 0
    for size in [*sizes, len(body)]:
        decoder.put(body[at : at + size])
        at += size
        out += drain(decoder, limit_bytes)
    assert (out, decoder.whole) == (PLAIN, True)


@pytest.mark.parametrize("name", [name for name, (coding, _) in BODIES.items() if codings_of(coding)])
def test_a_cut_body_is_never_whole(name):
    """A truncated body is distinguished from a whole one."""
    coding, body = BODIES[name]
    decoder = maybe_decoder(coding)
    decoder.put(body[: len(body) // 3])
    drain(decoder)
    assert not decoder.whole
    assert maybe_decoded(body[: len(body) // 3], coding, len(PLAIN) * 2)[1] is False


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd", b"br, gzip", b"deflate, zstd"])
def test_what_is_not_in_the_coding_is_an_error(coding):
    """Each library's own exception becomes one of ours."""
    assert maybe_decoded(b"this is not compressed", coding, 1000) is None
    decoder = maybe_decoder(coding)
    decoder.put(b"this is not compressed")
    with pytest.raises(CodingError):
        drain(decoder)


def test_a_broken_member_is_an_error():
    """Only bytes that begin no member are ignored."""
    second = bytearray(gzipped(b"second"))
    second[-6] ^= 0xFF  # its checksum
    assert maybe_decoded(gzipped(b"first") + bytes(second), b"gzip", 1000) is None


@pytest.mark.parametrize("coding", [b"x-foo", b"gzip, x-foo", b"compress", b"gzip,gzip,gzip,gzip,gzip"])
def test_unknown_codings_have_no_decoder(coding):
    """Nor has a tower of them."""
    assert maybe_decoder(coding) is None
    assert maybe_decoded(b"x", coding, 10) is None


def test_lists_of_codings_are_read_as_the_rfc_has_them():
    """RFC 9110 §5.3 and §8.4: lines are joined by commas, names are case-insensitive, identity is none."""
    assert codings_of(b"BR, ,identity,\tgzip ") == (b"br", b"gzip")
    assert codings_of(b" identity ") == ()


def brotli_fast(data):
    return brotli.compress(data, quality=1)


COMPRESS = {b"gzip": gzip.compress, b"deflate": bare_deflate, b"br": brotli_fast, b"zstd": zstd}


@pytest.mark.parametrize("coding", COMPRESS)
def test_pieces_stay_small_however_much_the_body_expands(coding):
    """Memory is bounded by what is asked for, not by what strangers send."""
    decoder = maybe_decoder(coding)
    decoder.put(COMPRESS[coding](bytes(40_000_000)))
    total = largest = 0
    while piece := decoder.next_piece(64 * 1024):
        total += len(piece)
        largest = max(largest, len(piece))
    assert total == 40_000_000
    assert largest <= 384 * 1024


class Counted(bytes):
    """Bytes that count how many of them were copied by slicing."""

    copied = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            Counted.copied += len(part)
        return part


@pytest.mark.parametrize(("coding", "member"), [(b"gzip", gzipped(b"x")), (b"zstd", zstd(b"x"))])
def test_members_of_one_byte_cost_linear_work(coding, member):
    """Twice as many copy twice as many bytes, not four times as many."""

    def copied(count):
        Counted.copied = 0
        decoder = maybe_decoder(coding)
        decoder.put(Counted(member * count))
        assert len(drain(decoder)) == count
        return Counted.copied

    assert copied(4000) < 2.4 * copied(2000)
