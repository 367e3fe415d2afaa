"""Let workers share the answers of each other's calls: the supervisor knows which worker has which call.

The supervisor passes on requests to read an answer, with one end of a
connection; the answer itself goes from worker to worker (`readings`).
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..net.handover import Handover
from ..policies.cache.other_calls import LocalCalls, OtherCallResponse, Serves
from .link import Link, LinkFactory, LinkLost, Refused
from .messages import CALL_CLAIM, CALL_CLOSED, CALL_FIND, CALL_OFFERED
from .process import WorkerProcess
from .readings import Reading, ReadingServer, reading_pair


class SupervisedCalls:
    """A worker's `OtherCalls`. Between `start` and `stop`, others can read its answers, and it can read theirs."""

    is_alone = False

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._reactor = reactor
        self._own = LocalCalls()
        self._handover: Handover | None = None
        self._read: set[ReadingServer] = set()
        self.join = self._own.join

    def start(self, end: socket.socket) -> None:
        """Send and receive connections through `end`, a socket to the supervisor."""
        self._handover = Handover(self._reactor, end, self._serve)

    def stop(self) -> None:
        """Begin no more readings; running ones continue. Idempotent."""
        if self._handover is not None:
            self._handover.close()

    @property
    def readers(self) -> int:
        """The number of this worker's answers that others read, or wait for."""
        return len(self._read)

    def offer(self, name: bytes) -> None:
        # at once: the retry may come to another worker next
        self._link.send_now(CALL_OFFERED, name)

    def withdraw(self, name: bytes) -> None:
        # at once: the next request must make a call of its own
        self._link.send_now(CALL_CLOSED, name)

    def find(self, name: bytes, asking: Serves) -> Deferred[OtherCallResponse | None]:
        return self._own.find(name, asking).addCallback(lambda found: found or self._ask(CALL_FIND, name))

    def claim(self, name: bytes, asking: Serves) -> Deferred[OtherCallResponse | None]:
        return self._own.find(name, asking).addCallback(lambda found: found or self._ask(CALL_CLAIM, name))

    def _ask(self, what: str, name: bytes) -> Deferred[OtherCallResponse | None]:
        asked = self._link.request(what, name)
        return asked.addCallbacks(lambda is_there: self._begin(name) if is_there else None, _not_found)

    def _begin(self, name: bytes) -> Deferred[OtherCallResponse | None]:
        """Read the answer of another worker."""
        try:
            ours, theirs = reading_pair()
        except OSError:
            return succeed(None)
        reading = Reading()
        if not self._connect(ours, reading):
            theirs.close()
            return succeed(None)
        assert self._handover is not None  # there are no requests before the start
        self._handover.give(name, theirs)
        return reading.found

    def _serve(self, name: bytes, end: socket.socket) -> None:
        """Let another worker read the answer of a call of this one."""
        server = ReadingServer(
            lambda: Deferred.fromCoroutine(self._own.read(name)), self._read.add, self._read.discard
        )
        self._connect(end, server)  # if that fails, the other worker sees the connection end

    def _connect(self, end: socket.socket, protocol: Any) -> bool:
        """Connect `protocol` to a socket; return False if there are no descriptors left. The socket itself is closed."""
        try:
            self._reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, LinkFactory(protocol))
        except OSError:
            return False
        finally:
            end.close()
        return True


def _not_found(failure: Failure) -> None:
    """Treat a supervisor that died like one that knows of no call."""
    failure.trap(LinkLost, Refused)


class CallServer:
    """The supervisor's side: it knows which worker has which call."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._workers: dict[bytes, WorkerProcess] = {}

    def offer(self, worker: WorkerProcess, name: bytes) -> None:
        self._workers[name] = worker

    def close(self, worker: WorkerProcess, name: bytes) -> None:
        if self._workers.get(name) is worker:
            del self._workers[name]

    def find(self, asking: WorkerProcess, name: bytes) -> bool | Deferred[bool]:
        """Say whether another worker has that call; if not, look again in the next turn.

        A message that a worker sent before its client could retry is in this
        process's sockets by then, though perhaps not read yet.
        """
        if self._other(asking, name) is not None:
            return True
        return deferLater(self._reactor, 0.0, lambda: self._other(asking, name) is not None)

    def claim(self, asking: WorkerProcess, name: bytes) -> bool:
        """As `find`; if no other worker has the call, `asking` owns it from now on."""
        if self._other(asking, name) is not None:
            return True
        self._workers[name] = asking
        return False

    def pass_on(self, asking: WorkerProcess, name: bytes, end: socket.socket) -> None:
        """Give the worker that has the call one end of a connection for the answer; close it if no worker has it."""
        worker = self._other(asking, name)
        if worker is None:
            end.close()
        else:
            worker.handover.give(name, end)

    def _other(self, asking: WorkerProcess, name: bytes) -> WorkerProcess | None:
        worker = self._workers.get(name)
        return None if worker is None or worker is asking or worker.link.is_lost else worker

    def forget(self, worker: WorkerProcess) -> None:
        """Forget the calls of a worker that is gone."""
        worker.handover.close()
        self._workers = {name: each for name, each in self._workers.items() if each is not worker}
