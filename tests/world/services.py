"""Servers that are not ours, as tests need them: on a port of their own, frozen, killed, started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from world.ports import HeldPort
from world.waiting import PATIENCE_S


class ServiceProcess:
    """One process at a time, on a port of loopback that stays its own between an end and a new start."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._held = HeldPort()
        self.port = self._held.number

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


PATIENT_S = 10.0
"""Deadline of a client if no test is about its deadline: a busy machine may keep an answer longer than 50 ms."""


def require_redis() -> str:
    """Return the path of redis-server; skip if there is none, fail in CI."""
    path = shutil.which("redis-server")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not installed, and CI must run these tests")
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    return path


class RedisServer(ServiceProcess):
    """A redis-server that keeps nothing on the disk."""

    def __init__(self, *options: str) -> None:
        self._path = require_redis()
        self._options = options
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1"]
        command = [self._path, *options, "--save", "", "--appendonly", "no", *self._options]
        self._run(command, stdout=subprocess.DEVNULL)
