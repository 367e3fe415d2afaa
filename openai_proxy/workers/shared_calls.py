"""Calls that go on without their client, for a retry that reaches another worker: the supervisor knows whose they are."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ..policies.rejoin.elsewhere import LocalCalls, WholeAnswer
from .link import Link, LinkLost, Refused
from .process import WorkerProcess
from .talk import CALL_CLOSED, CALL_FIND, CALL_OFFERED, CALL_READ


class SupervisedCalls:
    """A worker's `OtherCalls`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._own = LocalCalls()
        self.join = self._own.join
        self.read = self._own.read

    def offer(self, key: bytes) -> None:
        # at once: the retry may come to another worker next
        self._link.tell_at_once(CALL_OFFERED, key)

    def withdraw(self, key: bytes) -> None:
        self._link.tell(CALL_CLOSED, key)

    def find(self, key: bytes) -> Deferred[WholeAnswer | None]:
        return self._own.find(key).addCallback(lambda found: found or self._ask(key))

    def _ask(self, key: bytes) -> Deferred[WholeAnswer | None]:
        return self._link.ask(CALL_FIND, key).addErrback(_not_found)


def _not_found(failure: Failure) -> None:
    """Take a worker that died, or a supervisor that did, for one that knows of no call."""
    failure.trap(LinkLost, Refused)


class CallServer:
    """The supervisor's side: which worker goes on with which call."""

    def __init__(self) -> None:
        self._workers: dict[bytes, WorkerProcess] = {}

    def offer(self, worker: WorkerProcess, key: bytes) -> None:
        self._workers[key] = worker

    def close(self, worker: WorkerProcess, key: bytes) -> None:
        if self._workers.get(key) is worker:
            del self._workers[key]

    def find(self, asking: WorkerProcess, key: bytes) -> Deferred[WholeAnswer | None]:
        """Ask the worker that has the call; fails if it dies meanwhile."""
        worker = self._workers.get(key)
        if worker is None or worker is asking or worker.link.is_lost:
            return succeed(None)
        return worker.link.ask(CALL_READ, key)

    def forget(self, worker: WorkerProcess) -> None:
        """A worker has gone, with its calls."""
        self._workers = {key: each for key, each in self._workers.items() if each is not worker}
