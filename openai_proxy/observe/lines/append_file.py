"""A log file that other processes may append to, and that may be rotated.

One `os.write` with O_APPEND for each call, so that what has returned
survives `kill -9`. Imported by the observers that write files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable

LOOK_EVERY_S = 0.1
"""So often it is asked whether open files were deleted: for each line it would double what the line costs."""
_BLOCK = 65536
_WRITING_S = 0.002
"""If nothing comes to an unfinished line in so long, nobody is writing it."""
_LOOKS = 20


class LinesLost(OSError):
    """The last `lines` of those that were to be appended are not in the file, the others are."""

    def __init__(self, error: OSError, lines: int) -> None:
        super().__init__(error.errno, error.strerror)
        self.lines = lines


class AppendFile:
    """Appends whole lines to one file.

    States: closed, open. An open file holds a shared lock: whoever gets the
    exclusive one knows that nobody writes, and may cut off a line that a
    killed process left half written.
    """

    def __init__(
        self,
        path: str,
        write: Callable[[int, bytes], int] = os.write,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path
        self._write = write
        self._sleep = sleep
        self._fd = -1
        self._torn = False

    def open(self) -> None:
        """Open or create the file, and heal its last line; OSError if that fails."""
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            self._torn = False
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._heal(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _heal(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_SH)
            # Somebody writes to it, or may (a file system without locks): keep apart from his last line.
            self._torn = self._is_unfinished(fd)
            return
        size = os.fstat(fd).st_size
        keep = _whole_lines(fd, size)
        if keep < size:
            os.ftruncate(fd, keep)
        fcntl.flock(fd, fcntl.LOCK_SH)

    def _is_unfinished(self, fd: int) -> bool:
        """Whether the last line has no end, and is not just being written: a reader sees a part of a write."""
        size = -1
        for _ in range(_LOOKS):
            before, size = size, os.fstat(fd).st_size
            if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
                return False
            if size == before:
                break
            self._sleep(_WRITING_S)
        return True

    def append(self, lines: bytes) -> None:
        """Append `lines`, which end in a line end.

        Raises OSError if they could not be written whole (ENOSPC, a full
        disk's short write), LinesLost if some were: what follows then
        starts on a line of its own.
        """
        if self._fd < 0:
            self.open()
        if self._torn:
            lines = b"\n" + lines
        written = self._write(self._fd, lines)
        if written < len(lines):
            self._finish(lines, written)
        self._torn = False

    def _finish(self, lines: bytes, written: int) -> None:
        """Write the rest of a short write: either it fits, or this raises the reason."""
        try:
            while written < len(lines):
                count = self._write(self._fd, lines[written:])
                if count == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written += count
        except OSError as error:
            if not written:
                raise
            self._torn = lines[written - 1 : written] != b"\n"
            raise LinesLost(error, lines.count(b"\n", written)) from error

    @property
    def deleted(self) -> bool:
        """Whether the open file has no name any more, so that nobody will find what is appended to it."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def reopen(self) -> None:
        """Open the path anew (the file was moved away); if that fails, keep the old one."""
        old = self._fd
        self.open()
        if old >= 0:
            os.close(old)

    def close(self) -> None:
        """Close the file. May be called twice; a later `append` opens it again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def _whole_lines(fd: int, size: int) -> int:
    """Return the size up to and with the last line end, reading backwards."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
