"""What an idle TLS connection keeps of OpenSSL's memory, by glibc's own books."""

import ctypes
import gc

import pytest
from net.tls_pair import SIDES, TLSPair

KIB = 1024
IMAGE_BYTES = 400 * KIB
"""A prompt with an image in it."""


class _Books(ctypes.Structure):
    """struct mallinfo2 (mallinfo(3))."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated():
    """Return the bytes that are allocated by malloc; skips the test if that is unknown."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        pytest.skip("glibc 2.33 or newer tells it")
    mallinfo2.restype = _Books
    gc.collect()
    books = mallinfo2()
    return books.uordblks + books.hblkhd


def test_session_tickets_leave_no_buffer_behind():
    """OpenSSL takes 16 KiB to answer them, though nothing is answered: 2,000 idle streams kept 32 MiB of nothing.

    The tickets come right after the handshake here; the first bytes that follow have the buffer freed.
    """
    pairs = [TLSPair(we_serve=False).shake_hands() for _ in range(20)]
    for pair in pairs:
        pair.they_write(b"data: {}\n\n")
        pair.received_before = pair.received
    before = allocated()
    for pair in pairs:
        pair.arrive(len(pair.to_us))
    kept = (allocated() - before) / len(pairs)
    for pair in pairs:
        pair.pump_ours()
        assert pair.ours.received == b"data: {}\n\n"
        assert pair.received == pair.received_before
    assert kept < -12 * KIB


@SIDES
def test_a_long_prompt_leaves_no_buffer_of_its_size(we_serve):
    """The connection stays open for as long as its answer comes, and is then kept for the next request."""
    pair = TLSPair(we_serve).shake_hands()
    prompt = bytes(IMAGE_BYTES)
    before = allocated()
    pair.transport.write(prompt)
    sent = pair.below.take()
    assert len(sent) > IMAGE_BYTES
    del sent
    assert allocated() - before < 40 * KIB


@SIDES
def test_a_long_read_leaves_no_buffer_of_its_size(we_serve):
    pair = TLSPair(we_serve).shake_hands()
    pair.they_write(bytes(IMAGE_BYTES))
    data, pair.to_us = pair.to_us, b""
    before = allocated()
    pair.transport.dataReceived(data)
    assert len(pair.ours.received) == IMAGE_BYTES
    pair.ours.received = b""
    assert allocated() - before < 40 * KIB
