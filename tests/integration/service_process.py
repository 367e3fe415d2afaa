"""A server that is not ours, as tests need one: on a port of its own, frozen, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import weakref
from collections.abc import Sequence
from typing import Any

from integration.scripted_upstream import PATIENCE_S


class ServiceProcess:
    """One process at a time, on a port of loopback that stays its own between an end and a new start."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as held:
            # bound and never listening: the system gives the port to nobody, the server may share it
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
            self.port: int = held.getsockname()[1]
            weakref.finalize(self, os.close, held.detach())

    def _run(self, command: Sequence[str], **options: Any) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a warning. May be called twice."""
        self._end(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None
