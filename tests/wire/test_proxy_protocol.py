"""Headers of the PROXY protocol as balancers send them, whole and in pieces."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wire.proxy_protocol import SIGNATURE, BadHeader, maybe_header


def v2(command=1, family=1, protocol=1, addresses=b"", tlv=b""):
    """Return a header of version 2."""
    body = addresses + tlv
    return SIGNATURE + bytes([0x20 | command, family << 4 | protocol]) + struct.pack("!H", len(body)) + body


V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 4000, 443)
V6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack("!HH", 4000, 443)

NAMED = {
    b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443\r\n": ("192.0.2.1", 4000, "198.51.100.2", 443),
    b"PROXY TCP6 2001:db8::1 ::1 4000 443\r\n": ("2001:db8::1", 4000, "::1", 443),
    v2(addresses=V4): ("192.0.2.1", 4000, "198.51.100.2", 443),
    v2(addresses=V4, tlv=b"\x04\x00\x03abc"): ("192.0.2.1", 4000, "198.51.100.2", 443),
    v2(family=2, addresses=V6): ("::1", 4000, "::2", 443),
}
NAMELESS = [
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    b"PROXY UNKNOWN whatever\r\n",
    v2(command=0, family=0, protocol=0),
    v2(command=0, addresses=V4),
    v2(family=0, protocol=0),
    v2(family=0, protocol=0, tlv=b"\x04\x00\x03abc"),
    v2(family=3, addresses=bytes(216)),
    v2(protocol=2, addresses=V4),
]
BROKEN = [
    b"GET / HTTP/1.1\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 192.0.2.1 198.51.100.2 4000 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 x 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 65536\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
    b"PROXY TCP4 ::1 ::1 4000 443\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 4000 443\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.2 4000 443\r\n",
    b"PROXY TCP4 192.0.2.1  198.51.100.2 4000 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443 more\r\n",
    b"PROXY \xff\r\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    b"proxy UNKNOWN\r\n",
    SIGNATURE + b"\x11\x11\x00\x00",
    SIGNATURE + b"\x22\x11\x00\x00",
    SIGNATURE + b"\x21\x51\x00\x00",
    SIGNATURE + b"\x21\x13\x00\x00",
    SIGNATURE + b"\x21\x11\xff\xff",
    v2(addresses=V4[:-1]),
    v2(family=2, addresses=V4),
]


@pytest.mark.parametrize("data", NAMED)
def test_addresses_are_read(data):
    """Both versions, both families; what follows is the client's."""
    header = maybe_header(data + b"GET /")
    source, source_port, destination, port = NAMED[data]
    assert (str(header.source[0]), header.source[1]) == (source, source_port)
    assert (str(header.destination[0]), header.destination[1]) == (destination, port)
    assert header.length == len(data)


@pytest.mark.parametrize("data", NAMELESS)
def test_a_connection_without_addresses_is_taken(data):
    """HAProxy's health checks and Unix fronts say UNKNOWN, UNSPEC or LOCAL."""
    header = maybe_header(data + b"GET /")
    assert (header.source, header.destination, header.length) == (None, None, len(data))


@pytest.mark.parametrize("data", BROKEN)
def test_anything_else_is_refused(data):
    """Without a traceback, and before more than a header has been kept."""
    with pytest.raises(BadHeader):
        maybe_header(data)


@pytest.mark.parametrize("data", [*NAMED, *NAMELESS])
def test_a_header_may_arrive_byte_by_byte(data):
    """TCP cuts where it likes."""
    assert [maybe_header(data[:size]) for size in range(len(data))] == [None] * len(data)
    assert maybe_header(data) is not None


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=300)
)
def test_whatever_comes_is_a_header_or_none_or_refused(start, rest):
    """Strangers' bytes raise nothing else."""
    try:
        header = maybe_header(start + rest)
    except BadHeader:
        return
    assert header is None or 0 < header.length <= len(start + rest)
