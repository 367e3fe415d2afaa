"""Who owns which spool directory: each process one of its own, by a lock.

Under the spool's root every directory is an instance: its random name is
kept over restarts and stands for one writer. A directory that nobody locks
is free: its process has ended, or died.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets

from attrs import frozen

_LOCK = "lock"
_INSTANCE = re.compile("[0-9a-f]{8}")


@frozen
class Claim:
    """A locked instance directory. The lock ends with `release`, or with the process however it ends."""

    directory: str
    _lock_fd: int

    def restore(self) -> None:
        """Make the directory anew, and lock it, if somebody deleted it; OSError if that fails."""
        os.makedirs(self.directory, mode=0o750, exist_ok=True)
        anew = _claim(self.directory)
        os.dup2(anew._lock_fd, self._lock_fd, inheritable=False)
        anew.release()  # the lock is the open file's, which the other descriptor keeps

    def release(self) -> None:
        """Give the directory free. Call it once."""
        os.close(self._lock_fd)


def claim_own(root: str) -> Claim:
    """Return a directory for this process: the first free one, else a new one; OSError if that fails."""
    os.makedirs(root, mode=0o750, exist_ok=True)
    for directory in _instances(root):
        try:
            return _claim(directory)
        except OSError:
            continue
    while True:
        directory = os.path.join(root, secrets.token_hex(4))
        try:
            os.mkdir(directory, 0o750)
            return _claim(directory)
        except (FileExistsError, BlockingIOError):
            continue  # somebody looking for a free one was faster


def claim_left_behind(root: str) -> list[Claim]:
    """Return the directories of ended processes in which something waits; those that cannot be read stay."""
    claims = []
    for directory in _instances(root):
        try:
            if len(os.listdir(directory)) > 1:  # besides the lock
                claims.append(_claim(directory))
        except OSError:
            continue
    return claims


def _instances(root: str) -> list[str]:
    return [os.path.join(root, name) for name in sorted(os.listdir(root)) if _INSTANCE.fullmatch(name)]


def _claim(directory: str) -> Claim:
    """Lock a directory; BlockingIOError if somebody else has."""
    fd = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        # Of this open file, not of the process: two observers of one daemon keep apart as well.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return Claim(directory, fd)
