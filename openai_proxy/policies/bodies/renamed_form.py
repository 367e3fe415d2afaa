"""A multipart form that goes up under another name of its model; all else passes as it comes."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from ...exchange.messages import ProxyRequest
from ...wire.body_headers import with_length


def with_form_model(request: ProxyRequest, name: str) -> ProxyRequest:
    """Return the request with another model in its form; the very same one if it has that, or if nobody knows where its model stands."""
    span = request.form_span
    if span is None or name == request.form_model:
        return request
    body = RenamedForm(request.body, *span, name.encode())
    changed = request.evolve(body=body, form_model=name, form_span=None)
    if body.length is not UNKNOWN_LENGTH:
        changed.headers = with_length(request.headers, body.length)
    return changed


@implementer(IBodyProducer)
class RenamedForm:
    """A request's body with `name` in the place of its bytes from `start` up to `stop`."""

    def __init__(self, body: Any, start: int, stop: int, name: bytes) -> None:
        self._body = body
        self._start, self._stop = start, stop
        self._name = name
        self.length = (
            UNKNOWN_LENGTH if body.length is UNKNOWN_LENGTH else body.length - (stop - start) + len(name)
        )

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        replacing = _Replacing(consumer, self._start, self._stop, self._name)
        return cast("Deferred[None]", self._body.startProducing(replacing))

    def pauseProducing(self) -> None:
        self._body.pauseProducing()

    def resumeProducing(self) -> None:
        self._body.resumeProducing()

    def stopProducing(self) -> None:
        self._body.stopProducing()

    @property
    def rewindable(self) -> bool:
        """As that of the body."""
        return bool(self._body.rewindable)

    def rewind(self) -> bool:
        """As that of the body."""
        return bool(self._body.rewind())


@implementer(IConsumer)
class _Replacing:
    """Writes what it gets into `consumer`, but for the bytes that are replaced."""

    def __init__(self, consumer: IConsumer, start: int, stop: int, name: bytes) -> None:
        self._consumer = consumer
        self._start, self._stop = start, stop
        self._name = name
        self._at = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The connection registers the body itself."""

    def unregisterProducer(self) -> None:
        """The connection unregisters the body itself."""

    def write(self, data: bytes) -> None:
        begin, self._at = self._at, self._at + len(data)
        if self._at <= self._start or begin >= self._stop:
            self._consumer.write(data)
            return
        before = data[: max(0, self._start - begin)]
        behind = data[self._stop - begin :] if self._at > self._stop else b""
        name = self._name if begin <= self._start else b""
        if before or name or behind:
            self._consumer.write(before + name + behind)
