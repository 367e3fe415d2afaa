"""Learn from an answer, as it passes, which state it has created.

This happens before the bytes with the name are forwarded, so that a client that
uses the name at once finds it known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from ...exchange.messages import ProxyResponse, ResponseBody
from ...wire.body_headers import is_event_stream, media_type_and_coding
from ...wire.codings import maybe_decoded, maybe_decoder
from ...wire.decoders import CodingError, Decoder
from ..authorize.object_ids import id_begun
from .state_names import Digest, digest, names_in

ANSWER_BYTES = 1024 * 1024
"""The largest part of a document, or of one event, that is searched."""
DECODED_BYTES = 64 * 1024 * 1024
"""The largest part of a compressed answer that is searched."""
_STEP_BYTES = 64 * 1024
_BEGINNING_BYTES = 4096
"""The first event names its response near its beginning."""
_CARRIED_BYTES = 64
_data = re.compile(rb"(?:^|[\r\n])data:[ ]?")
_ITEM_DONE = b"response.output_item.done"
_event_end = re.compile(rb"\n\r?\n|\r\r")

Learn = Callable[[Sequence[Digest]], None]


def watched(response: ProxyResponse, streaming: bool, learn: Learn) -> ProxyResponse:
    """Return the response, still to be delivered; `learn` is called with the state it has created."""
    media_type, coding = media_type_and_coding(response.headers)
    is_stream = is_event_stream(media_type, streaming)
    whole = response.body.whole
    if whole is not None and not is_stream:
        plain = maybe_decoded(whole, coding, ANSWER_BYTES) if coding else (whole, True)
        if plain is not None:
            _learn_all(plain[0][:ANSWER_BYTES], learn)
        return response
    decoder = maybe_decoder(coding) if coding else None
    if coding and decoder is None:
        return response
    watch = StreamWatch(learn) if is_stream else DocumentWatch(learn)
    if whole is not None and decoder is None:
        watch.feed(whole)
        watch.finish()
        return response
    return response.evolve(body=WatchedBody(response.body, watch, decoder))


def _learn_all(text: bytes, learn: Learn) -> None:
    names = names_in(text)
    if names:
        learn(names)


class DocumentWatch:
    """Watches a JSON document: learns its own id as soon as that is there, the rest at the end."""

    def __init__(self, learn: Learn) -> None:
        self._learn = learn
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Take bytes that are about to be forwarded."""
        if self._held_bytes < ANSWER_BYTES:
            self._held.append(data)
            self._held_bytes += len(data)
            if not self._begun:
                self._begun = True
                name = id_begun(data)
                if name is not None:
                    self._learn([digest(name.encode("utf-8", "replace"))])

    def finish(self) -> None:
        """Learn from the rest: the whole document has come."""
        if self._held:
            text = b"".join(self._held)[:ANSWER_BYTES]
            self._held = []
            _learn_all(text, self._learn)


class StreamWatch:
    """Watches the events of a stream: the response that the first one announces, and each item that is done."""

    def __init__(self, learn: Learn) -> None:
        self._learn = learn
        self._begun = False
        self._beginning = b""
        self._carried = b""
        """The end of what was searched, because the name of an event may be cut in two."""
        self._item: list[bytes] | None = None
        """The event of an item from its first line, as far as it has come."""
        self._item_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take bytes that are about to be forwarded, in pieces of any size."""
        if not self._begun:
            self._look_at_beginning(data)
        rest: bytes | None = data
        while rest is not None:
            if self._item is None:
                rest = self._find_item(rest)
            if rest is not None:
                rest = self._hold(rest)

    def finish(self) -> None:
        """Learn from the rest: the whole stream has come."""
        if self._item is not None:
            self._hold(b"\n\n")

    def _find_item(self, data: bytes) -> bytes | None:
        """Return the line that names an item's event, and what follows; None if there is none."""
        joined = self._carried + data
        at = joined.find(_ITEM_DONE)
        if at < 0:
            self._carried = joined[-_CARRIED_BYTES:]
            return None
        self._carried = b""
        self._item, self._item_bytes = [], 0
        return joined[max(joined.rfind(b"\n", 0, at), joined.rfind(b"\r", 0, at)) + 1 :]

    def _hold(self, data: bytes) -> bytes | None:
        """Hold an event until it is whole and learn from it; return what follows, None if more must come."""
        held = self._item
        assert held is not None
        before = b"".join(held[-3:])[-3:]
        held.append(data)
        self._item_bytes += len(data)
        end = _event_end.search(before + data)
        if end is None:
            if self._item_bytes > ANSWER_BYTES:
                self._item = None
            return None
        self._item = None
        after = len(before) + len(data) - end.end()
        event = b"".join(held)
        event, rest = event[: len(event) - after], data[len(data) - after :]
        found = _data.search(event)
        if found is not None:
            _learn_all(event[found.end() :].rstrip(b"\r\n"), self._learn)
        return rest

    def _look_at_beginning(self, data: bytes) -> None:
        self._beginning += data
        found = _data.search(self._beginning)
        name = None if found is None else id_begun(self._beginning[found.end() :])
        if name is not None:
            self._learn([digest(name.encode("utf-8", "replace"))])
        if name is not None or len(self._beginning) > _BEGINNING_BYTES or self._has_other_event(found):
            self._begun = True
            self._beginning = b""

    def _has_other_event(self, found: re.Match[bytes] | None) -> bool:
        """Return whether the first event is complete and names no response."""
        return found is not None and _event_end.search(self._beginning, found.end()) is not None


class WatchedBody(Protocol):
    """Shows a body to a watch before it is forwarded, and otherwise leaves it unchanged."""

    whole = None

    def __init__(
        self, body: ResponseBody, watch: StreamWatch | DocumentWatch, decoder: Decoder | None
    ) -> None:
        self._body = body
        self._watch: StreamWatch | DocumentWatch | None = watch
        self._decoder = decoder
        self._decoded_bytes = 0
        self._left = body.length
        self._target: Any = None

    @property
    def length(self) -> int | None:
        return self._body.length

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body."""
        self._target = protocol
        self._body.deliverBody(cast(IProtocol, self))

    def discard(self) -> None:
        """Free the connection; idempotent."""
        self._body.discard()

    # ---- fed by the body

    def makeConnection(self, transport: Any) -> None:
        self._target.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if self._watch is not None:
            self._show(data)
        self._target.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._finish()
        self._target.connectionLost(reason)

    def _show(self, data: bytes) -> None:
        watch = self._watch
        assert watch is not None
        if self._decoder is None:
            watch.feed(data)
        else:
            try:
                self._decoder.put(data)
                while piece := self._decoder.next_piece(_STEP_BYTES):
                    self._decoded_bytes += len(piece)
                    if self._decoded_bytes > DECODED_BYTES:
                        self._watch = None
                        return
                    watch.feed(piece)
            except CodingError:
                self._watch = None
                return
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._finish()  # the client may see the end together with these bytes

    def _finish(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.finish()
