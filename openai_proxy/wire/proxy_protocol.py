"""The PROXY protocol's header, versions 1 and 2, read from bytes. Pure.

Source: HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from attrs import frozen

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""The beginning of a header of version 2."""
V1_BYTES = 107
"""The longest header of version 1, line end included."""
V2_BYTES = 16 + 4096
"""The longest accepted header of version 2: addresses take up to 216 bytes, the rest is optional."""

_V1_START = b"PROXY "
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_HIGHEST_PORT = 65535
_FAMILIES: dict[int, tuple[type[IPv4Address] | type[IPv6Address], int]] = {
    1: (IPv4Address, 4),
    2: (IPv6Address, 16),
}

Address: TypeAlias = "IPv4Address | IPv6Address"


class BadHeader(ValueError):
    """The bytes are no PROXY protocol header."""


@frozen
class ProxyHeader:
    """The facts about a forwarded connection that a balancer sends.

    None if it sends none: for a connection of its own (LOCAL), or one whose
    addresses it does not know (UNKNOWN, UNSPEC) or that has none (a Unix
    socket).
    """

    length: int
    """The size of the header in bytes; after that comes the client's data."""
    source: tuple[Address, int] | None = None
    destination: tuple[Address, int] | None = None


def maybe_header(data: bytes | bytearray) -> ProxyHeader | None:
    """Return the header at the start of `data`, None while it is incomplete. Raises BadHeader."""
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _version_2(bytes(data[:V2_BYTES]))
    if data[: len(_V1_START)] == _V1_START[: len(data)]:
        return _version_1(bytes(data[: V1_BYTES + 1]))
    raise BadHeader("no PROXY protocol header")


def _version_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) >= V1_BYTES:
            raise BadHeader("a header of version 1 without an end")
        return None
    try:
        words = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError as error:
        raise BadHeader("a header of version 1 is ASCII") from error
    if words[1] == "UNKNOWN":  # the rest of the line must be ignored
        return ProxyHeader(end + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadHeader("a header of version 1 names TCP4, TCP6 or UNKNOWN and four values")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    _, _, source, destination, source_port, destination_port = words
    return ProxyHeader(
        end + 2, _endpoint(kind, source, source_port), _endpoint(kind, destination, destination_port)
    )


def _endpoint(kind: type[Address], host: str, port: str) -> tuple[Address, int]:
    if _PORT.fullmatch(port) is None or int(port) > _HIGHEST_PORT:
        raise BadHeader("a port is a number from 0 to 65535")
    try:
        address = ip_address(host)
    except ValueError as error:
        raise BadHeader("an address cannot be read") from error
    if not isinstance(address, kind):
        raise BadHeader("an address is not of its family")
    return address, int(port)


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, protocol = data[13] >> 4, data[13] & 15
    length = 16 + int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or family > 3 or protocol > 2:
        raise BadHeader("an unknown kind of header of version 2")
    if length > V2_BYTES:
        raise BadHeader("a header of version 2 is too long")
    if len(data) < length:
        return None
    if command == 0 or protocol != 1 or family not in _FAMILIES:
        return ProxyHeader(length)
    kind, size = _FAMILIES[family]
    addresses = data[16:length]
    if len(addresses) < 2 * size + 4:
        raise BadHeader("a header of version 2 lacks its addresses")
    source, destination = kind(addresses[:size]), kind(addresses[size : 2 * size])
    ports = addresses[2 * size : 2 * size + 4]
    return ProxyHeader(
        length,
        (source, int.from_bytes(ports[:2], "big")),
        (destination, int.from_bytes(ports[2:], "big")),
    )
