"""Unix sockets and their locks: what an earlier process with our number left, and what somebody removed.

Twisted keeps a link `PATH.lock` beside a Unix socket, which names the process
that listens there. After a `kill -9` the link stays, and the next start removes
it if no process has that number. In a container the number is the same in each
life, 1 as a rule: there, the proxy took itself for another one that listens.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from typing import Any

from twisted.internet import tcp, unix

LOCKED = "Cannot acquire lock"
"""What Twisted says if the lock is held."""


class RemovableUNIXPort(unix.Port):
    """A Unix port that also closes if its path cannot be removed; Twisted's stays open then, and locked.

    Somebody has removed it, or it is in a directory of root's and `--uid` has given up that right.
    """

    lockFile: Any

    def connectionLost(self, reason: Any) -> None:
        try:
            super().connectionLost(reason)
        except OSError:
            if self.lockFile is not None:
                with suppress(OSError):  # the same may hold for the lock
                    self.lockFile.unlock()
            tcp.Port.connectionLost(self, reason)


def remove_own_remains(path: str) -> None:
    """Remove the lock and the socket at `path` if they are of an earlier process with our number.

    They are not if somebody answers at the socket, or if this process has bound
    it. What is no socket stays. Never fails.
    """
    with suppress(OSError):
        if os.readlink(path + ".lock") != str(os.getpid()) or _is_in_use(path):
            return
        os.unlink(path + ".lock")
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


def why_locked(path: str) -> str:
    """Return why the lock of `path` refuses us, and what to do about it."""
    try:
        number = os.readlink(path + ".lock")
    except OSError:
        return "another process listens there"
    return f"process {number} holds {path}.lock; if that is no openai-proxy, remove this file"


def _is_in_use(path: str) -> bool:
    return _is_bound_here(path) or _answers(path)


def _answers(path: str) -> bool:
    """Return whether a process listens at `path`; one whose backlog is full also does."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.setblocking(False)
        try:
            asked.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True


def _is_bound_here(path: str) -> bool:
    """Return whether this process has a socket of that name, which may not listen yet."""
    return any(_name_of(int(fd)) == path for fd in os.listdir("/dev/fd"))


def _name_of(fd: int) -> object:
    """Return what the socket of a descriptor is bound to; None if it is no socket or not open any more."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            with socket.socket(fileno=os.dup(fd)) as ours:
                name: object = ours.getsockname()
                return name
    return None
