"""The answer that comes when a stream was promised, and is none: it becomes the stream's last event.

With `keepalive_before_head` the client has its head before the upstream
answers. What was wrong is then said in the stream, which breaks off after it.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from ..exchange.errors import ProxyError
from ..exchange.messages import ProxyResponse, ResponseBody
from ..exchange.outcome import Outcome
from ..exchange.upstream_errors import UpstreamProtocolError
from ..wire.body_headers import EVENT_STREAM, media_type_and_coding
from ..wire.codings import maybe_decoded
from ..wire.documents import as_one_line

MOST_BYTES = 64 * 1024
"""The longest error that is passed on in its own words."""


class BrokenPromise(ProxyError):
    """Why the stream breaks off; its client has received the error already."""

    outcome = Outcome.UPSTREAM_ERROR

    def __init__(self, status: int) -> None:
        super().__init__()
        self.code = str(status)


def as_late_error(response: ProxyResponse) -> ProxyResponse:
    """Return a stream, still to be delivered, of one event with the error of `response`, which then breaks off."""
    headers = [(b"Content-Type", EVENT_STREAM)]
    return response.evolve(
        status=200, reason=b"OK", headers=headers, filters=(), body=LateErrorBody(response)
    )


class LateErrorBody(Protocol):
    """Reads an answer of at most MOST_BYTES, and delivers the event. States: undelivered, reading, over."""

    length = whole = None

    def __init__(self, response: ProxyResponse) -> None:
        self._response = response
        self._body: ResponseBody = response.body
        self._kind, self._coding = media_type_and_coding(response.headers)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._target: IProtocol | None = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the event, as soon as the answer is there."""
        self._target = protocol
        if self._kind == EVENT_STREAM and self._response.status == 200:  # compressed: nothing to wait for
            self._end()
            self._body.discard()
        else:
            self._body.deliverBody(cast(IProtocol, self))

    def discard(self) -> None:
        """Free the connection; idempotent."""
        self._target = None
        self._held.clear()
        self._body.discard()

    # ---- fed by the body

    def makeConnection(self, transport: Any) -> None:
        if self._target is not None:
            self._target.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MOST_BYTES:
            self._end()
            self._body.discard()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()

    def _end(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.dataReceived(b"data: %b\n\n" % self._told())
            target.connectionLost(Failure(BrokenPromise(self._response.status)))
        self._held.clear()

    def _told(self) -> bytes:
        """Return the upstream's error as JSON in one line, or one of ours if it says nothing that can be passed on."""
        status, body = self._response.status, b"".join(self._held)
        if self._coding:
            decoded = maybe_decoded(body, self._coding, MOST_BYTES)
            body = b"" if decoded is None else decoded[0]
        what = (
            f"answered {status}" if status >= 400 else f"answered {status}, and not with a stream of events"
        )
        if status == 200 and self._kind == EVENT_STREAM:
            what = "compressed its answer, which cannot be passed on once a comment was sent in its place"
        return as_one_line(body, MOST_BYTES) or UpstreamProtocolError(f"The upstream {what}.").body()
