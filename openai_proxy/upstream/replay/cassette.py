"""The files of a directory of recorded exchanges, and where in them each answer is.

Reads files, and nothing else: 40 bytes a line are held in memory. Built when
a configuration is loaded, which may be in a thread.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from weakref import finalize

import orjson
from attrs import frozen

from .files import MOST_UNPACKED_BYTES, Warn, is_packed, lines_of, recorded_files, unpacked
from .match import Asked, asked_of_line
from .recorded import answer_of_line

MOST_COMPARED = 50
"""Recorded requests that a request is compared with to name the nearest."""
_ENTRY = struct.Struct(">16s8sIIQ")
"""Key, route, number of the file, bytes of the line, where it begins."""


@frozen
class LinePosition:
    """Where a recorded line begins (`offset`, in bytes of the unpacked file), its length, and the number of its file."""

    file: int
    size_bytes: int
    offset: int


class Cassette:
    """The recorded answers, found by the key of their request; several of one key come in the order of their time.

    `read` gives the request of a line in the form that incoming requests are
    compared in. Raises OSError if the directory cannot be read.
    """

    def __init__(self, directory: Path, read: Callable[[dict[str, Any]], Asked], warn: Warn) -> None:
        self._files = recorded_files(directory)
        self._unpacked: dict[int, int] = {}
        """The descriptors of compressed files as they are unpacked, by number."""
        opened = ExitStack()
        finalize(self, opened.close)
        entries = []
        left = MOST_UNPACKED_BYTES
        for number, path in enumerate(self._files):
            with ExitStack() as meanwhile:
                if is_packed(path):
                    file = opened.enter_context(unpacked(path, left, warn))
                    self._unpacked[number] = file.fileno()
                    left -= file.tell()
                    file.seek(0)
                else:
                    file = meanwhile.enter_context(path.open("rb"))
                for line_number, offset, data in lines_of(file, path.name, warn):
                    found = _entry_of(data, read, f"{path.name}:{line_number}", warn)
                    if found is not None:
                        time, asked = found
                        position = (number, len(data), offset)
                        entries.append((asked.key, time, _ENTRY.pack(asked.key, asked.route, *position)))
        entries.sort(key=lambda entry: entry[:2])
        self._index = b"".join(entry for _, _, entry in entries)
        self._directory = directory
        self._added: dict[bytes, list[LinePosition]] = {}
        """What was recorded since, by key."""
        self._own: int | None = None
        """The number of the file that it goes to."""

    def __len__(self) -> int:
        return self._sorted + sum(map(len, self._added.values()))

    @property
    def _sorted(self) -> int:
        return len(self._index) // _ENTRY.size

    def append(self, key: bytes, line: bytes) -> None:
        """Add a line to a file of this process' own, and answer with it from now on. Raises OSError."""
        if self._own is None:
            self._own = len(self._files)
            self._files.append(self._directory / f"recorded-{os.getpid()}.jsonl")
        descriptor = os.open(self._files[self._own], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            begin = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, begin)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        self._added.setdefault(key, []).append(LinePosition(self._own, len(line), begin))

    def find(self, key: bytes) -> list[LinePosition]:
        """Return where the answers to a request are, in the order of their time. O(log n)."""
        low, high = 0, self._sorted
        while low < high:
            middle = (low + high) // 2
            at = middle * _ENTRY.size
            if self._index[at : at + 16] < key:
                low = middle + 1
            else:
                high = middle
        found = []
        while low < self._sorted:
            entry = _ENTRY.unpack_from(self._index, low * _ENTRY.size)
            if entry[0] != key:
                break
            found.append(LinePosition(*entry[2:]))
            low += 1
        return found + self._added.get(key, [])

    def of_route(self, route: bytes) -> Iterator[LinePosition]:
        """Yield the positions of requests with this method and path, some of them if there are many. O(n)."""
        count = 0
        for entry in _ENTRY.iter_unpack(self._index):
            if entry[1] == route:
                yield LinePosition(*entry[2:])
                count += 1
                if count == MOST_COMPARED:
                    return

    def load(self, position: LinePosition) -> dict[str, Any]:
        """Return a line; OSError or ValueError if the file is not what it was."""
        descriptor = self._unpacked.get(position.file)
        if descriptor is None:
            with self._files[position.file].open("rb") as file:
                file.seek(position.offset)
                line = orjson.loads(file.read(position.size_bytes))
        else:
            line = orjson.loads(os.pread(descriptor, position.size_bytes, position.offset))
        if not isinstance(line, dict):
            raise ValueError("the line is no object any more")
        return line


def _entry_of(
    data: bytes, read: Callable[[dict[str, Any]], Asked], where: str, warn: Warn
) -> tuple[str, Asked] | None:
    """Return time and request of a line that can be replayed, None for any other; a broken one is warned of."""
    try:
        line = orjson.loads(data)
        complete = line["outcome"] == "complete"
        timestamp = str(line.get("timestamp"))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        warn(f"{where} is no line of an exchange log: not replayed")
        return None
    if not complete:
        return None
    try:
        answer_of_line(line)
        return timestamp, read(line)
    except ValueError:
        return None
    except (KeyError, TypeError, AttributeError):
        warn(f"{where} is no line of an exchange log: not replayed")
        return None


def reader(ignore: frozenset[str]) -> Callable[[dict[str, Any]], Asked]:
    """Return what reads the request of a line, without what is ignored."""
    return lambda line: asked_of_line(line, ignore)
