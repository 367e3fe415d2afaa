"""Read the files of an exchange log line by line, and follow them as they grow."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from attrs import frozen

_NAME = re.compile(r"((?:.*_)?(\d{8})\.jsonl)(?:\.\d+|-\d+)?(?:\.gz)?")
"""The names of the exchange log's files, with the UTC day at the end; also rotated and compressed ones."""


@frozen
class Line:
    """One logged exchange."""

    timestamp: str
    record: dict[str, Any]
    raw: bytes
    """The bytes with their line end."""


class LogFile:
    """One file. `lines` may be called again for lines that have been added.

    `skipped` counts the lines that are not JSON objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._offset = 0

    def lines(self, *, last: bool) -> Iterator[Line]:
        """Yield the exchanges from where the previous call ended.

        A last line without its end is left for the next call. `last` says that
        there will be none: then the line is read if it is complete, and
        otherwise it was torn.
        """
        if self.path.suffix == ".gz":
            yield from self._compressed()
            return
        try:
            with self.path.open("rb") as file:
                if self._offset > file.seek(0, 2):  # it was truncated
                    self._offset = 0
                file.seek(self._offset)
                for raw in file:
                    if not raw.endswith(b"\n") and not last:
                        return
                    self._offset += len(raw)
                    yield from self._read(raw)
        except FileNotFoundError:  # removed meanwhile: the log keeps a limited number of days
            return

    def _compressed(self) -> Iterator[Line]:
        if self._offset:  # it does not grow
            return
        self._offset = 1
        try:
            with cast("IO[bytes]", gzip.open(self.path, "rb")) as file:
                for raw in file:
                    yield from self._read(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            self.skipped += 1

    def _read(self, raw: bytes) -> Iterator[Line]:
        if not raw.strip():
            return
        try:
            record = json.loads(raw)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            self.skipped += 1
        elif isinstance(record.get("request"), dict):  # other records are not exchanges
            yield Line(str(record.get("timestamp")), record, raw if raw.endswith(b"\n") else raw + b"\n")


class LogDirectory:
    """The files of a directory; new ones are found by `by_day` again. Raises OSError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[tuple[str, int], LogFile] = {}
        """By the original name and the inode, so that a renamed file is not read again."""
        self._is_known = False

    def by_day(self, since: str = "") -> Iterator[list[LogFile]]:
        """Yield the files of each day in turn, from the day `since` (YYYYMMDD) on."""
        days: dict[str, list[LogFile]] = {}
        for path in sorted(self._path.iterdir()):
            found = _NAME.fullmatch(path.name)
            file = self._file(path, found[1]) if found and found[2] >= since else None
            if found and file:
                days.setdefault(found[2], []).append(file)
        self._is_known = True
        for day in sorted(days):
            yield days[day]

    def _file(self, path: Path, name: str) -> LogFile | None:
        try:
            key = name, path.stat().st_ino
        except FileNotFoundError:  # removed meanwhile
            return None
        file = self._files.get(key)
        if file is None:
            if self._is_known and path.suffix == ".gz":  # it was read before it was compressed
                return None
            file = self._files[key] = LogFile(path)
        file.path = path
        return file

    @property
    def skipped(self) -> int:
        """The number of lines so far that are not JSON objects."""
        return sum(each.skipped for each in self._files.values())
