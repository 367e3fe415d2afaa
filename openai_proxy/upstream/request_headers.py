"""The header lines of one request, with what IAgent has no argument for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.web.http_headers import Headers

from ..exchange.record import HeaderPairs
from ..net.origin import Origin
from ..net.twisted_headers import WireHeaders

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class RequestHeaders(WireHeaders):
    """Header lines as UpstreamAgent sends them: byte for byte, framing included, Host left out.

    `credential` names the upstream key that the lines carry: connections are
    never shared between two credentials. `upgrade` says that the request is
    a handshake whose answer may be 101. `payer` pays for the request, by
    `credential_id`. `origin` is the URL's, with the client certificate if
    there is one; None has the URL parsed. `fresh` asks for a connection that
    nobody has used. `started` is when the request began, in monotonic
    seconds; None is now. `connect_s` is the agent's to set: how long it took
    to make a connection for them.

    As a mapping they have no framing: an agent that asks for it, as
    twisted.web's does, makes that of the body.
    """

    __slots__ = ("connect_s", "credential", "fresh", "origin", "payer", "started", "upgrade")

    def __init__(
        self,
        pairs: HeaderPairs,
        credential: bytes = b"",
        upgrade: bool = False,
        payer: str = "",
        origin: Origin | None = None,
        fresh: bool = False,
        started: float | None = None,
    ) -> None:
        self.pairs = pairs
        self.credential = credential
        self.upgrade = upgrade
        self.payer = payer
        self.origin = origin
        self.fresh = fresh
        self.started = started
        self.connect_s = 0.0

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        return (line for line in super().getAllRawHeaders() if line[0].lower() not in _FRAMING)

    def copy(self) -> Headers:
        return RequestHeaders(
            list(self.pairs),
            self.credential,
            self.upgrade,
            self.payer,
            self.origin,
            self.fresh,
            self.started,
        )
