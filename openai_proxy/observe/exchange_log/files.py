"""The files of a local exchange log: their names, and those that are open."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone

from ...exchange.bounded_memo import short_memo
from ...exchange.record import Exchange
from ..lines.append_file import LOOK_EVERY_S, AppendFile
from ..redaction import REDACTED, scrubbed
from .quota import DiskQuota, remove_old

MAX_OPEN = 64
_DAY_S = 86400
_MAX_NAME = 80
_NAMES_KEPT = 1024
_HIDDEN = REDACTED.strip("[]")
_UNSAFE = re.compile(r"(?:[^A-Za-z0-9._@+-]|\.\.+)+")
SUFFIX = ".jsonl"


def file_name(exchange: Exchange) -> str:
    """Return `{key name}_{model}_{YYYYMMDD}.jsonl`, without the key if it is not known.

    No two keys share a file: see `_key_part`.
    The day is that of the exchange's begin, in UTC; the model is `none`
    if there is none. Safe as a single path component.
    """
    return _file_name((exchange.key, exchange.model, exchange.timestamp // _DAY_S))


@short_memo(
    _NAMES_KEPT,
    size=lambda asked: len(asked[1] or ""),
    keeps=lambda asked, name: _HIDDEN not in name,  # else the model is somebody's key
)
def _file_name(asked: tuple[str | None, str | None, float]) -> str:
    key, model, day = asked
    parts = [_key_part(key)] if key else []
    date = datetime.fromtimestamp(day * _DAY_S, timezone.utc)
    parts += [sanitised(model or "none"), date.strftime("%Y%m%d")]
    return "_".join(parts) + SUFFIX


def _key_part(key: str) -> str:
    """Return the name of a key as the first part of a file's name: without `_`, which ends it.

    Otherwise the key `a` with a model `b_gpt-4` of its choice would write
    into the file of the key `a_b`. A digest keeps a changed name apart.
    """
    safe = sanitised(key)
    if safe == key and "_" not in safe:
        return safe
    whole = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{safe.replace('_', '-')}-{whole[:8]}"


def sanitised(name: str) -> str:
    """Return a name of at most 89 safe characters; a shortened one is kept apart by a digest."""
    safe = _UNSAFE.sub("_", scrubbed(name[:1000])).lstrip(".-") or "_"
    if len(safe) > _MAX_NAME or len(name) > 1000:
        whole = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()
        safe = f"{safe[:_MAX_NAME]}-{whole[:8]}"
    return safe


class LogDirectory:
    """Appends to files of one directory; keeps the most recently used ones open.

    If somebody deletes a file, or all of the directory, they are made
    anew, at the latest LOOK_EVERY_S later. `clock` gives monotonic seconds,
    `wall_clock` those since the epoch. All files together hold `max_bytes`
    at most, and lines beyond are refused, unless `beyond` says that they are
    written all the same: then somebody else sees to it that few come, by
    `full`. Files of days before the last `keep_days` are removed, at the
    start and with the first line of each day.
    """

    spool_bytes = None
    """Nothing waits here: what is written is in its place."""

    def __init__(
        self,
        directory: str,
        max_open: int = MAX_OPEN,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_bytes: int | None = None,
        keep_days: int | None = None,
        beyond: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self._quota = DiskQuota(directory, max_bytes) if max_bytes is not None else None
        self._beyond = beyond
        self._keep_days = keep_days
        self._wall_clock = wall_clock
        self._day = -1.0
        self._max_open = max_open
        self._clock = clock
        self._looked_at = clock()
        self._open: OrderedDict[str, AppendFile] = OrderedDict()

    def start(self) -> None:
        """Create the directory and heal every file's last line; OSError if it cannot be."""
        self._make_directory()
        with os.scandir(self.directory) as entries:
            names = [each.name for each in entries if each.name.endswith(SUFFIX) and each.is_file()]
        for name in names:
            file = AppendFile(os.path.join(self.directory, name))
            file.open()
            file.close()
        self._remove_old()

    @property
    def full(self) -> bool:
        """Whether the files hold all that they may."""
        return self._quota is not None and not self._quota.has_room(1, self._clock())

    def _remove_old(self) -> None:
        now = self._wall_clock()
        if self._keep_days is not None and now // _DAY_S != self._day:
            self._day = now // _DAY_S
            remove_old(self.directory, self._keep_days, now)

    def append(self, name: str, lines: bytes) -> None:
        """Append whole lines to the file `name`; OSError if they are not on disk."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._remove_old()
            self._forget_deleted()
        if self._quota is not None and not self._beyond and not self._quota.has_room(len(lines), now):
            raise OSError(errno.EDQUOT, f"its files hold the {self._quota.max_bytes} bytes of max_bytes")
        file = self._open.get(name)
        if file is None:
            file = self._open[name] = self._opened(name)
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(name)
        file.append(lines)
        if self._quota is not None:
            self._quota.add(len(lines))

    def _opened(self, name: str) -> AppendFile:
        file = AppendFile(os.path.join(self.directory, name))
        try:
            file.open()
        except FileNotFoundError:
            self._make_directory()
            file.open()
        return file

    def _make_directory(self) -> None:
        os.makedirs(self.directory, mode=0o750, exist_ok=True)

    def _forget_deleted(self) -> None:
        """Close the files that have no name any more: what they took would be gone with them."""
        for name in [name for name, file in self._open.items() if file.deleted]:
            self._open.pop(name).close()

    def reopen(self) -> None:
        """Close all files; the next append opens its file again, under its name."""
        files, self._open = self._open, OrderedDict()
        for file in files.values():
            file.close()

    def stop(self) -> None:
        """Close all files. May be called twice."""
        self.reopen()
