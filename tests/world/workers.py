"""The processes of a daemon with several workers."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from world.client import Client
from world.daemon import alive
from world.waiting import eventually


def workers(daemon) -> list[int]:
    """The processes of the workers, in no order."""
    with contextlib.suppress(OSError):
        return [
            int(pid) for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        ]
    return []


def all_gone(pids) -> bool:
    return eventually(lambda: not any(alive(pid) for pid in pids))


def worker_of(daemon, client: Client) -> int:
    """The worker that serves a connection over TCP."""
    found: list[int | None] = []
    # the kernel's lists may lack a line while others come and go
    assert eventually(lambda: found.append(_server_of(daemon, client)) or found[-1]), "nobody serves this"
    return found[-1]


def _server_of(daemon, client: Client) -> int | None:
    ours, theirs = client.sock.getsockname()[1], client.sock.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{theirs:04X}") and fields[2].endswith(f":{ours:04X}"):
            return next((pid for pid in workers(daemon) if _has_socket(pid, fields[9])), None)
    return None


def _has_socket(pid: int, inode: str) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) == f"socket:[{inode}]":
                return True
    return False


def clients_of_each(daemon, port: int) -> dict[int, Client]:
    """A connection to each worker: who has one is held still until all have, for nobody says whose turn it is."""
    kept: dict[int, Client] = {}
    try:
        for _ in workers(daemon):
            client = Client(port)
            client.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response().status == 200
            pid = worker_of(daemon, client)
            assert pid not in kept
            kept[pid] = client
            os.kill(pid, signal.SIGSTOP)
            assert eventually(lambda pid=pid: _is_stopped(pid))
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGCONT)
    return kept


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
