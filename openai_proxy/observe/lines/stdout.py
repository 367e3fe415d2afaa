"""Write lines to the process's standard output, never waiting for it.

File descriptor 1 itself: twistd replaces `sys.stdout`. A reader that does
not read, or that left, costs lines, never a request.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable

_PIECE = select.PIPE_BUF
"""A pipe that polls as writable takes this number of bytes without blocking."""


class StandardOutput:
    """Writes batches of lines to one file descriptor; drops the lines that it cannot take at once."""

    def __init__(self, fd: int = 1) -> None:
        self.fd = fd
        self.dropped_lines = 0
        """Lines not written since the last call that wrote everything."""
        self._torn = False
        """Whether a long line was cut: what follows starts on a line of its own."""
        self._write: Callable[[list[bytes]], None] = self._in_pieces

    def start(self) -> bool:
        """Look at what the descriptor is; False if nobody will ever read it."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        if stat.S_ISREG(status.st_mode):
            self._write = self._at_once
        return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev)

    def write(self, lines: list[bytes]) -> None:
        """Write `lines`, each with its line end. Never raises OSError, never blocks on a pipe."""
        if lines:
            self._write(lines)

    def _at_once(self, lines: list[bytes]) -> None:
        try:
            os.write(self.fd, b"".join(lines))
        except OSError:
            self.dropped_lines += len(lines)

    def _in_pieces(self, lines: list[bytes]) -> None:
        writable = select.poll()
        writable.register(self.fd, select.POLLOUT)
        done = 0
        try:
            while done < len(lines):
                end, size = done + 1, len(lines[done])
                while end < len(lines) and size + len(lines[end]) <= _PIECE:
                    size += len(lines[end])
                    end += 1
                if not self._put(writable, b"".join(lines[done:end])):
                    break
                done = end
        except OSError:
            pass
        self.dropped_lines += len(lines) - done

    def _put(self, writable: select.poll, data: bytes) -> bool:
        """Write all of `data`; False if the reader does not keep up."""
        if self._torn:
            data = b"\n" + data
        for start in range(0, len(data), _PIECE):
            if not writable.poll(0):
                return False
            os.write(self.fd, data[start : start + _PIECE])
            self._torn = True
        self._torn = False
        return True
