"""How much of the disk a local exchange log may take, and for how many days it is kept.

Only files that are named as the log names them count, and only those are
ever removed.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone

DAY = re.compile(r".+_(\d{8})\.jsonl(?:\.\d+|-\d+)?(?:\.gz|\.xz|\.zst|\.bz2)?")
"""The log's own names, also as logrotate or a compressor changes them: `a_20261130.jsonl.1`, `a_20261130.jsonl.gz`."""
_MEASURE_EVERY_S = 10.0
_MEASURE_FULL_EVERY_S = 1.0


class DiskQuota:
    """The bytes of all files of one directory, other processes' included.

    What this process writes is added at once; the directory is measured
    anew every 10 s, every second while it is full: other workers write too,
    and somebody may make room.
    """

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._directory = directory
        self._used = 0
        self._measured_at: float | None = None

    def add(self, size: int) -> None:
        """Note that this number of bytes was written."""
        self._used += size

    def has_room(self, size: int, now: float) -> bool:
        """Return whether this number of bytes may be written in addition; `now` is in monotonic seconds."""
        every = _MEASURE_EVERY_S if self._used + size <= self.max_bytes else _MEASURE_FULL_EVERY_S
        if self._measured_at is None or now - self._measured_at >= every:
            self._measured_at = now
            self._used = sum(map(_size, _files(self._directory)))
        return self._used + size <= self.max_bytes


def remove_old(directory: str, keep_days: int, timestamp: float) -> list[str]:
    """Remove the log's files of days before the last `keep_days`; return their names.

    `timestamp` is in seconds since the epoch; today counts as one of the days.
    """
    today = datetime.fromtimestamp(timestamp, timezone.utc)
    oldest = f"{today - timedelta(days=keep_days - 1):%Y%m%d}"
    removed = []
    for entry in _files(directory):
        day = DAY.fullmatch(entry.name)
        if day is not None and day[1] < oldest:
            try:
                os.unlink(entry.path)
            except FileNotFoundError:  # another worker was faster
                continue
            removed.append(entry.name)
    return removed


def _size(entry: os.DirEntry[str]) -> int:
    """Return a file's bytes; 0 if another worker, or logrotate, has removed it meanwhile."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def _files(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [
                each for each in entries if DAY.fullmatch(each.name) and each.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
