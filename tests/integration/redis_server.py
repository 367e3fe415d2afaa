"""A real Redis server for tests: started, frozen, killed, started again."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from integration.service_process import ServiceProcess

PATIENT_S = 10.0
"""Deadline of a client where no test is about its deadline: a busy machine may keep an answer longer than 50 ms."""


def require_redis() -> str:
    """Return the path of redis-server; skip where there is none, fail in CI."""
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
        place = ["--port", str(self.port), "--bind", "127.0.0.1"]
        command = [self._path, *place, "--save", "", "--appendonly", "no", *self._options]
        self._run(command, stdout=subprocess.DEVNULL)
