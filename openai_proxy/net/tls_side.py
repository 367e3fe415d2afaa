"""One side of a TLS connection, as `TLSTransport` asks it: how it starts, and whether the peer is accepted."""

from __future__ import annotations

import ssl
from typing import Protocol


class Side(Protocol):
    """One side of one TLS connection: its start, and the requirements on the peer."""

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the TLS state of a connection that reads and writes there."""
        ...

    def shake_hands(self, tls: ssl.SSLObject) -> None:
        """Continue the handshake; as `SSLObject.do_handshake`."""
        ...

    def check(self, tls: ssl.SSLObject) -> None:
        """Check the peer after the handshake, before its last flight is sent: raise ssl.SSLError to refuse it."""
        ...

    def failed(self, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        """Note that the handshake failed."""

    def arrived(self, tls: ssl.SSLObject) -> None:
        """Note that the peer's first bytes were read; in TLS 1.3 its session tickets come before them."""
