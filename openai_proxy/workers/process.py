"""One worker process, as the supervisor sees it.

Starts it, relays its output, and says when it is ready and when it has ended.
The supervisor handles the messages of the link.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from ..logs import logger
from ..net.handover import Handover
from ..observe.lines.stdout import StandardOutput
from .link import Link, LinkFactory

log = logger("openai_proxy")

CLEAN = "exit code 0"
_LAST_LINES = 20
"""The number of lines of standard error kept to say why a worker could not start."""


@frozen(eq=False)
class Launcher:
    """The arguments of every worker process. Made before twistd changes its directory."""

    reactor: Any
    reactor_name: str
    """The short name of the reactor's plugin; workers run on the same kind."""
    environment: dict[str, str]
    output: StandardOutput
    """Writes the workers' lines to standard output, if it is open."""

    def spawn(self, number: int, protocol: ProcessProtocol, link: Link, sockets: Sequence[int]) -> Any:
        """Start worker `number`; its descriptors from 3 on are `sockets`. Returns the transport."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            process = self.reactor.spawnProcess(
                protocol,
                sys.executable,
                [sys.executable, *_SAFE_PATH, "-m", __package__, self.reactor_name, str(number)],
                env=self.environment,
                childFDs={
                    0: theirs.fileno(),
                    1: "r" if self.output.start() else null,
                    2: "r",
                    **dict(enumerate(sockets, 3)),
                },
            )
            ours.setblocking(False)
            self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, LinkFactory(link))
        finally:
            os.close(null)
            theirs.close()
            ours.close()
        return process


_SAFE_PATH = ("-P",) if sys.version_info >= (3, 11) else ()
"""Keeps Python from importing from the working directory."""


def environment(own: Mapping[str, str], path: Sequence[str], directory: str) -> dict[str, str]:
    """Return the environment of workers: this process's, and its import path."""
    absolute = [os.path.join(directory, entry) for entry in path]
    return {**own, "PYTHONPATH": os.pathsep.join(absolute)}


class WorkerProcess(ProcessProtocol):
    """A running worker process.

    States: starting, ready (`is_ready`), draining as well, ended. `ended` is called once, when
    the process is reaped, its output read and its link closed.
    """

    def __init__(self, number: int, output: StandardOutput, ended: Callable[[WorkerProcess], object]) -> None:
        self.number = number
        self.pid = 0
        self.link: Link
        self.handover: Handover
        self.is_ready = False
        self.is_draining = False
        self.is_ended = False
        self.was_replaced = False
        """It is being ended, and its successor starts with new settings."""
        self.failure: str | None = None
        """The worker's own reason why it could not start."""
        self.reason = ""
        """How the process ended: `exit code 1`, `signal 9`."""
        self._output = output
        self._ended = ended
        self._partial = {1: b"", 2: b""}
        self._errors: list[str] = []
        self._reaped = False

    def start(self, launcher: Launcher, link: Link, sockets: Sequence[int]) -> None:
        self.link = link
        self.pid = launcher.spawn(self.number, self, link, sockets).pid

    def kill(self) -> None:
        """Kill it. May be called when it has ended."""
        if not self._reaped and self.transport is not None:
            # the process may have been reaped while its output is still being read
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    # ---- its output

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        whole, newline, self._partial[childFD] = (self._partial[childFD] + data).rpartition(b"\n")
        if newline:
            self._lines(childFD, whole + newline)

    def _lines(self, childFD: int, whole: bytes) -> None:
        if childFD == 1:
            self._output.write(whole.splitlines(keepends=True))
            return
        text = whole.decode("utf-8", "backslashreplace").rstrip("\n")
        self._errors = [*self._errors, *text.splitlines()][-_LAST_LINES:]
        log.error("worker {number} wrote: {text}", number=self.number, text=text)

    # ---- its end

    def processEnded(self, reason: Failure) -> None:
        for fd, rest in self._partial.items():
            if rest:
                self._lines(fd, rest + b"\n")
        self._reaped = True
        self.reason = _how(reason)
        self._maybe_ended()

    def link_lost(self) -> None:
        """Note that the link is closed; called by the link."""
        self._maybe_ended()

    def _maybe_ended(self) -> None:
        if self._reaped and self.link.is_lost and not self.is_ended:
            self.is_ended = True
            self._ended(self)

    def why_not_started(self) -> str | None:
        """Return in a few words why it did not become ready; None while it still may."""
        if self.is_ready:
            return None
        return self.failure or self.why_gone()

    def why_gone(self) -> str | None:
        """Return in a few words how it ended; None while it runs."""
        if self.is_ended or self.link.is_lost:
            return self._errors[-1] if self._errors else self.reason or "without a word"
        return None


def _how(reason: Failure) -> str:
    error = reason.value
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        return f"signal {error.signal}"
    return f"exit code {getattr(error, 'exitCode', 0)}"
