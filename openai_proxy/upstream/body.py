"""Request bodies towards the upstream.

`Upload` is a streamed body on its way, framed, with back-pressure. A
`WholeBody` needs none of this: it is sent with the head in one write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from ..exchange.bodies import WholeBody
from ..net.sockets import untaken_bytes


def as_body_producer(data: Any) -> IBodyProducer:
    """Make a body of the `data` argument of treq's client, which calls this."""
    if isinstance(data, bytes):
        return WholeBody(data)
    return IBodyProducer(data)


@implementer(IConsumer)
class BodyWriter:
    """The consumer a streamed body writes into: counts or chunks."""

    def __init__(self, transport: Any, length: int | str) -> None:
        self._transport = transport
        self._chunked = length is UNKNOWN_LENGTH

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The connection registers the body itself."""

    def unregisterProducer(self) -> None:
        """The connection unregisters the body itself."""

    def write(self, data: bytes) -> None:
        if self._chunked:
            if data:
                self._transport.writeSequence((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._transport.write(data)

    def finish(self) -> None:
        """Write the end mark if the framing has one."""
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")


class Upload:
    """A streamed body on its way up.

    States: running, over (its end mark is written, or it was stopped).
    """

    def __init__(self, body: IBodyProducer, transport: Any) -> None:
        self._body = body
        self._transport = transport
        self._over = False

    def start(self, done: Callable[[], None], failed: Callable[[Failure], None]) -> None:
        """Let the body write; call `done` or `failed` once, at once perhaps, unless `stop` comes first."""
        writer = BodyWriter(self._transport, self._body.length)
        # Twisted's own buffer pauses and resumes the body.
        self._transport.registerProducer(self._body, True)

        def produced(_: None) -> None:
            if not self._over:
                self._over = True
                writer.finish()
                self._transport.unregisterProducer()
                done()

        def broke(failure: Failure) -> None:
            if not self._over:
                failed(failure)

        self._body.startProducing(writer).addCallbacks(produced, broke)

    def stop(self, connected: bool) -> None:
        """Stop the body, because nobody wants the rest. Called once."""
        self._over = True
        if connected:
            self._transport.unregisterProducer()
        self._body.stopProducing()


class Taking:
    """Watches how the upstream takes what was written to it.

    `untaken_bytes` and `taken_at` (monotonic seconds, the last moment at
    which something was taken or nothing waited) are as of the last `look`.
    """

    __slots__ = ("_transport", "taken_at", "untaken_bytes")

    def __init__(self, transport: Any, now: float) -> None:
        self._transport = transport
        self.untaken_bytes = 0
        self.taken_at = now

    def look(self, now: float) -> int:
        """Return how many bytes the upstream has not taken yet, the kernel's send queue included."""
        untaken = untaken_bytes(self._transport)
        if untaken == 0 or untaken != self.untaken_bytes:
            self.untaken_bytes = untaken
            self.taken_at = now
        return untaken
