"""The spool: lines on the local disk that wait to be shipped.

Lines are appended on the reactor's thread, with one `os.write` for those
that come together, and are safe from `kill -9` when that has returned. The
shipping thread takes sealed batches of them. One lock, held for a few system
calls at most, keeps the two apart.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from ...lines.append_file import AppendFile
from ..files import MAX_OPEN
from .batch import Batch, batches_in
from .claims import Claim

BATCH_BYTES = 4 * 1024 * 1024
"""What one append block takes, and the most that a batch holds but for a single longer line."""
KEEP_S = 30.0
"""How long a delivered batch stays on the disk: a store that died may have forgotten what it had acknowledged."""
_FREE_AGAIN = 15 / 16
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class _OpenBatch:
    """The batch of a log file that lines are still added to. Its file may be closed in between."""

    def __init__(self, batch: Batch, write: Callable[[int, bytes], int]) -> None:
        self.batch = batch
        self._write = write
        self.broken = False
        """Whether it ends in part of a line that could not be taken back."""
        self._fd = os.open(batch.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o640)

    def reopen(self) -> None:
        """Open the file again; OSError if that fails."""
        self._fd = os.open(self.batch.path, _FLAGS)

    def append(self, lines: bytes) -> None:
        """Add lines, whole or not at all; OSError if the disk does not take them."""
        written = 0
        try:
            while written < len(lines):
                count = self._write(self._fd, lines[written:] if written else lines)
                if count == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written += count
        except OSError:
            if written:
                self._take_back()
            raise
        self.batch.size += len(lines)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._fd, self.batch.size)
        except OSError:
            self.broken = True

    def close(self) -> None:
        os.close(self._fd)


class Spool:
    """The batches of one instance directory.

    States: built, open (`open`), closed (`close`, which gives the directory
    free). `append` is called on one thread, all else on another. Holds no
    more than `limit_bytes`: beyond, `append` refuses lines until a sixteenth
    of it is free again. What was left there by an earlier process counts.
    """

    def __init__(
        self,
        claim: Claim,
        limit_bytes: int,
        *,
        write: Callable[[int, bytes], int] = os.write,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = claim.directory
        self.changed = threading.Condition()
        """Notified when the first line waits, and when a whole batch does."""
        self.waiting_bytes = 0
        self._claim = claim
        self._limit_bytes = limit_bytes
        self._write = write
        self._wall_clock = wall_clock
        self._run = secrets.token_hex(4)
        self._count = 0
        self._full = False
        self._closed = False
        self._open: dict[str, _OpenBatch] = {}
        self._files: OrderedDict[str, _OpenBatch] = OrderedDict()
        """Those of the open batches whose files are open, the least recently used first."""
        self._sealed: dict[str, deque[Batch]] = {}
        self._kept: deque[tuple[float, Batch]] = deque()

    def open(self) -> None:
        """Find what an earlier process left, without its torn last lines; OSError if it cannot be read."""
        for batch in batches_in(self.directory):
            if batch.mark is None and not batch.delivered:
                file = AppendFile(batch.path)
                file.open()  # heals it
                file.close()
                batch.size = os.path.getsize(batch.path)
            if batch.size and not (batch.delivered and batch.age_s(self._wall_clock()) >= KEEP_S):
                self._sealed.setdefault(batch.name, deque()).append(batch)
                self.waiting_bytes += batch.size
            else:
                batch.remove()

    def append(self, name: str, lines: bytes) -> None:
        """Add whole lines to the log file `name`; OSError if they are not on disk."""
        with self.changed:
            self._check_room(len(lines))
            before = self.waiting_bytes
            self._batch_for(name, len(lines)).append(lines)
            self.waiting_bytes = after = before + len(lines)
            if not before or before < BATCH_BYTES <= after:
                self.changed.notify_all()

    def _check_room(self, size: int) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the spool is closed")
        limit = self._limit_bytes * _FREE_AGAIN if self._full else self._limit_bytes
        self._full = self.waiting_bytes + size > limit
        if self._full:
            raise OSError(errno.EDQUOT, f"the spool holds its {self._limit_bytes} bytes already")

    def _batch_for(self, name: str, size: int) -> _OpenBatch:
        current = self._open.get(name)
        if current is not None and not current.broken and current.batch.size + size <= BATCH_BYTES:
            if name in self._files:
                self._files.move_to_end(name)
            else:
                self._close_one()
                current.reopen()
                self._files[name] = current
            return current
        self._close_one()
        self._count += 1
        id = f"{int(self._wall_clock() * 1000):012x}-{self._run}-{self._count:06x}"
        opened = self._begun(Batch(self.directory, name, id, 0))
        if current is not None:
            self._seal(name)
        self._open[name] = self._files[name] = opened
        return opened

    def _begun(self, batch: Batch) -> _OpenBatch:
        try:
            return _OpenBatch(batch, self._write)
        except FileNotFoundError:
            self._claim.restore()
            return _OpenBatch(batch, self._write)

    def _close_one(self) -> None:
        if len(self._files) >= MAX_OPEN:
            self._files.popitem(last=False)[1].close()

    def _seal(self, name: str) -> None:
        current = self._open.pop(name)
        if self._files.pop(name, None) is not None:
            current.close()
        if current.batch.size:
            self._sealed.setdefault(name, deque()).append(current.batch)
        else:
            current.batch.remove()

    def names(self) -> list[str]:
        """Return the log files of which something waits."""
        with self.changed:
            return [*self._sealed, *(name for name in self._open if name not in self._sealed)]

    def take(self, name: str) -> list[Batch]:
        """Return what waits of a log file, oldest first; its lines from now on go into another batch."""
        with self.changed:
            if name in self._open:
                self._seal(name)
            return list(self._sealed.get(name, ()))

    def delivered(self, batch: Batch, now: float) -> None:
        """Take a batch, the oldest of its name, for delivered at `now`, in monotonic seconds."""
        batch.put_delivered()
        self._drop(batch)
        self._kept.append((now, batch))

    def gone(self, batch: Batch) -> None:
        """Give up a batch, the oldest of its name, whose file was taken away."""
        self._drop(batch)

    def _drop(self, batch: Batch) -> None:
        with self.changed:
            batches = self._sealed[batch.name]
            batches.popleft()
            if not batches:
                del self._sealed[batch.name]
            self.waiting_bytes -= batch.size

    def expire(self, now: float) -> None:
        """Remove what was delivered long enough ago."""
        while self._kept and now - self._kept[0][0] >= KEEP_S:
            self._kept.popleft()[1].remove()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is kept."""
        return not (self.waiting_bytes or self._kept)

    def doubt(self) -> None:
        """Let everything that is still kept be delivered again: a store skips what it has."""
        with self.changed:
            while self._kept:
                _, batch = self._kept.pop()
                self._sealed.setdefault(batch.name, deque()).appendleft(batch)
                self.waiting_bytes += batch.size

    def close(self) -> None:
        """Close all files and give the directory free; what waits or is kept stays. May be called twice."""
        with self.changed:
            if not self._closed:
                self._closed = True
                for name in list(self._open):
                    self._seal(name)
                self._claim.release()
