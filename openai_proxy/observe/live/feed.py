"""Events of the live view for those who read along.

Each event is encoded once, whoever reads. A reader that does not keep up
gets a new snapshot in place of what it missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from ...exchange.errors import Overloaded
from ...logs import logger
from .table import Changes

log = logger(__name__)

MOST_READERS = 20
MOST_WAITING = 1000
"""Events that wait for one reader."""
COMMENT_S = 15.0
COMMENT = b": \n\n"


class Sink(Protocol):
    """Where a reader's events go."""

    def write(self, data: bytes) -> object: ...
    def finish(self) -> object: ...


def encode(event: str, data: Any) -> bytes:
    """Return one server-sent event.

    >>> encode("ended", {"id": "x"})
    b'event: ended\\ndata: {"id":"x"}\\n\\n'
    """
    return b"event: %b\ndata: %b\n\n" % (event.encode("ascii"), orjson.dumps(data))


def events_of(changes: Changes) -> list[bytes]:
    """Return what happened as events, in an order that makes sense of each exchange."""
    return [
        *(encode("started", each) for each in changes.started),
        *(encode("progress", each) for each in changes.progress),
        *(encode("ended", each) for each in changes.ended),
    ]


@implementer(IPushProducer)
class Reader:
    """One who reads along.

    States: behind (a snapshot is asked for; events are in it, and dropped),
    reading, paused (events wait, until there are too many), gone.
    """

    def __init__(self, sink: Sink, snapshot: Callable[[], Deferred[bytes]]) -> None:
        self._sink = sink
        self._snapshot = snapshot
        self._waiting: list[bytes] = []
        self._paused = False
        self._behind = False
        self._asked = False
        self._gone = False

    def begin(self) -> None:
        """Start with a snapshot."""
        self._behind = True
        self._catch_up()

    def _catch_up(self) -> None:
        if not self._asked:
            self._asked = True
            self._snapshot().addCallbacks(self._caught_up, self._failed)

    def _caught_up(self, snapshot: bytes) -> None:
        self._asked = False
        if self._gone:
            return
        if self._paused:
            return  # what it shows would be old when it is read
        self._behind = False
        self._sink.write(snapshot)

    def _failed(self, failure: Failure) -> None:
        self._asked = False
        if not self._gone:
            log.debug("no snapshot for the live view: {why}", why=failure.getErrorMessage())
            self._gone = True
            self._sink.finish()

    def take(self, events: list[bytes]) -> None:
        """Take what happened."""
        if self._gone or self._behind or not events:
            return
        if not self._paused:
            self._sink.write(b"".join(events))
        elif len(self._waiting) + len(events) > MOST_WAITING:
            self._waiting = []
            self._behind = True
        else:
            self._waiting += events

    def leave(self) -> None:
        self._gone = True
        self._waiting = []

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._gone:
            return
        if self._behind:
            self._catch_up()
        else:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._sink.write(b"".join(waiting))

    def stopProducing(self) -> None:
        self.leave()


class LiveFeed:
    """All readers in one process, at most MOST_READERS.

    `snapshot` fires with the document of the event of that name, of a moment
    at which it holds every event sent before it. `wanted` is called with
    True when the first one comes, with False when the last one has left.
    """

    def __init__(
        self, reactor: Any, snapshot: Callable[[], Deferred[dict[str, Any]]], wanted: Callable[[bool], object]
    ) -> None:
        self._reactor = reactor
        self._ask = snapshot
        self._wanted = wanted
        self._readers: dict[Reader, Sink] = {}
        self._comment: Any = None

    def __len__(self) -> int:
        return len(self._readers)

    def check_room(self) -> None:
        """Raise Overloaded if there are as many readers as may be."""
        if len(self._readers) >= MOST_READERS:
            raise Overloaded(f"The live view of openai-proxy has {MOST_READERS} readers, which is its limit.")

    def open(self, sink: Sink) -> Reader:
        """Let one more read, from a snapshot on; call `close` when it leaves."""
        reader = Reader(sink, self._snapshot)
        self._readers[reader] = sink
        if len(self._readers) == 1:
            self._wanted(True)
            self._comment = self._reactor.callLater(COMMENT_S, self._say_comment)
        reader.begin()
        return reader

    def close(self, reader: Reader) -> None:
        """A reader has left; may be called twice."""
        reader.leave()
        if self._readers.pop(reader, None) is not None and not self._readers:
            self._comment.cancel()
            self._wanted(False)

    def _say_comment(self) -> None:
        self._comment = self._reactor.callLater(COMMENT_S, self._say_comment)
        self._tell([COMMENT])

    def _snapshot(self) -> Deferred[bytes]:
        return self._ask().addCallback(lambda document: encode("snapshot", document))

    def push(self, changes: Changes) -> None:
        """Send all readers what happened."""
        self._tell(events_of(changes))

    def push_stats(self, stats: dict[str, Any]) -> None:
        self._tell([encode("stats", stats)])

    def _tell(self, events: list[bytes]) -> None:
        for reader in list(self._readers):
            reader.take(events)

    def finish(self) -> None:
        """Send all readers away: the view is turned off, or the daemon ends."""
        readers: Iterable[tuple[Reader, Sink]] = list(self._readers.items())
        for reader, sink in readers:
            self.close(reader)
            sink.finish()
