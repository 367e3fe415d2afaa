"""The files of a local exchange log: their names, and those that are open."""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from datetime import datetime, timezone
from functools import lru_cache

from ...core.exchange import Exchange
from ..append_file import AppendFile
from ..redaction import scrubbed

MAX_OPEN = 64
_DAY_S = 86400
_MAX_NAME = 80
_LONGEST_KEPT = 256
"""Longer names of models are not remembered: strangers choose them."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._@+-]+")
SUFFIX = ".jsonl"


def file_name(exchange: Exchange) -> str:
    """Return `{key name}_{model}_{YYYYMMDD}.jsonl`, without the key where it is not known.

    The day is that of the exchange's begin, in UTC; the model is `none`
    where there is none. Safe as a single path component.
    """
    model, day = exchange.model, exchange.timestamp // _DAY_S
    if model is not None and len(model) > _LONGEST_KEPT:
        return _file_name(exchange.key, model, day)
    return _kept_file_name(exchange.key, model, day)


@lru_cache(1024)
def _kept_file_name(key: str | None, model: str | None, day: float) -> str:
    return _file_name(key, model, day)


def _file_name(key: str | None, model: str | None, day: float) -> str:
    parts = [key] if key else []
    date = datetime.fromtimestamp(day * _DAY_S, timezone.utc)
    parts += [model or "none", date.strftime("%Y%m%d")]
    return "_".join(sanitised(part) for part in parts) + SUFFIX


def sanitised(name: str) -> str:
    """Return a name of at most 89 safe characters; a shortened one is kept apart by a digest."""
    safe = _UNSAFE.sub("_", scrubbed(name[:1000])).lstrip(".-") or "_"
    if len(safe) > _MAX_NAME or len(name) > 1000:
        whole = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()
        safe = f"{safe[:_MAX_NAME]}-{whole[:8]}"
    return safe


class LogDirectory:
    """Appends to files of one directory; keeps the most recently used ones open."""

    def __init__(self, directory: str, max_open: int = MAX_OPEN) -> None:
        self.directory = directory
        self._max_open = max_open
        self._open: OrderedDict[str, AppendFile] = OrderedDict()

    def start(self) -> None:
        """Create the directory and heal every file's last line; OSError where it can not be."""
        os.makedirs(self.directory, mode=0o750, exist_ok=True)
        with os.scandir(self.directory) as entries:
            names = [each.name for each in entries if each.name.endswith(SUFFIX) and each.is_file()]
        for name in names:
            file = AppendFile(os.path.join(self.directory, name))
            file.open()
            file.close()

    def append(self, name: str, line: bytes) -> None:
        """Append a whole line to the file `name`; OSError where it is not on disk."""
        file = self._open.get(name)
        if file is None:
            file = AppendFile(os.path.join(self.directory, name))
            file.open()
            self._open[name] = file
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(name)
        file.append(line)

    def reopen(self) -> None:
        """Close all files; the next append opens its file again, under its name."""
        files, self._open = self._open, OrderedDict()
        for file in files.values():
            file.close()

    def stop(self) -> None:
        """Close all files. May be called twice."""
        self.reopen()
