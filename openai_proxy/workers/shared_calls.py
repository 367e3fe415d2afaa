"""Calls that go on without their client, for a retry that reaches another worker: the supervisor knows whose they are."""

from __future__ import annotations

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from ..exchange.bodies import WholeBody
from ..exchange.messages import ResponseBody
from ..exchange.record import HeaderPairs
from ..policies.cache.elsewhere import FromElsewhere, LocalCalls, Serves
from .link import Link, LinkLost, Refused
from .process import WorkerProcess
from .talk import CALL_CLOSED, CALL_FIND, CALL_OFFERED, CALL_READ


@frozen
class WholeAnswer:
    """An answer as it goes from one process to another."""

    status: int
    reason: bytes
    headers: HeaderPairs
    body: bytes = field(repr=False)
    is_announced: bool
    """The head says how long it is."""


class SupervisedCalls:
    """A worker's `OtherCalls`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._own = LocalCalls()
        self.join = self._own.join

    def offer(self, name: bytes) -> None:
        # at once: the retry may come to another worker next
        self._link.tell_at_once(CALL_OFFERED, name)

    def withdraw(self, name: bytes) -> None:
        self._link.tell(CALL_CLOSED, name)

    def find(self, name: bytes, asking: Serves) -> Deferred[FromElsewhere | None]:
        return self._own.find(name, asking).addCallback(lambda found: found or self._ask(name))

    def _ask(self, name: bytes) -> Deferred[FromElsewhere | None]:
        return self._link.ask(CALL_FIND, name).addCallbacks(_response, _not_found)

    async def read(self, name: bytes) -> WholeAnswer | None:
        """Return the answer of a call of this process once it is whole; None if there is none."""
        found = await self._own.read(name)
        body = None if found is None else await _whole_of(found.body)
        if found is None or body is None:
            return None
        return WholeAnswer(found.status, found.reason, found.headers, body, found.body.length is not None)


def _response(found: WholeAnswer | None) -> FromElsewhere | None:
    if found is None:
        return None
    body = WholeBody(found.body, found.is_announced)
    return FromElsewhere(found.status, found.reason, found.headers, body)


def _not_found(failure: Failure) -> None:
    """Take a worker that died, or a supervisor that did, for one that knows of no call."""
    failure.trap(LinkLost, Refused)


def _whole_of(body: ResponseBody) -> Deferred[bytes | None]:
    """Fire with all bytes of a body; None if it breaks off."""
    collecting = _Collecting()
    body.deliverBody(collecting)
    return collecting.whole


class _Collecting(Protocol):
    def __init__(self) -> None:
        self.whole: Deferred[bytes | None] = Deferred()
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole.callback(b"".join(self._pieces) if isinstance(reason.value, ResponseDone) else None)


class CallServer:
    """The supervisor's side: which worker goes on with which call."""

    def __init__(self) -> None:
        self._workers: dict[bytes, WorkerProcess] = {}

    def offer(self, worker: WorkerProcess, name: bytes) -> None:
        self._workers[name] = worker

    def close(self, worker: WorkerProcess, name: bytes) -> None:
        if self._workers.get(name) is worker:
            del self._workers[name]

    def find(self, asking: WorkerProcess, name: bytes) -> Deferred[WholeAnswer | None]:
        """Ask the worker that has the call; fails if it dies meanwhile."""
        worker = self._workers.get(name)
        if worker is None or worker is asking or worker.link.is_lost:
            return succeed(None)
        return worker.link.ask(CALL_READ, name)

    def forget(self, worker: WorkerProcess) -> None:
        """A worker has gone, with its calls."""
        self._workers = {name: each for name, each in self._workers.items() if each is not worker}
