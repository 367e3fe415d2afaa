"""A batch: whole lines of one log file, sealed, for a remote store.

Its file's name says all that a restart must know: `NAME.ID` as it was
sealed, `@INDEX.POSITION` after it once its position in the store is chosen,
`+` at the end when it was delivered. A rename is atomic, and works on a
full disk too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from attrs import frozen

from ..files import SUFFIX

_FILE = re.compile(
    r"(?P<name>.+\.jsonl)\.(?P<id>[0-9a-f-]+)(?:@(?P<index>[0-9]+)\.(?P<position>[0-9]+))?(?P<delivered>\+?)"
)


class BatchGone(Exception):
    """Raised if somebody removed the batch's file."""


@frozen
class Mark:
    """The position of a batch in the store: which blob of its name, and where in it the batch begins."""

    index: int
    position: int
    """Bytes from the blob's start."""


class Batch:
    """A sealed file of the spool. Used only by the shipping thread."""

    def __init__(self, directory: str, name: str, id: str, size: int, mark: Mark | None = None) -> None:
        self.directory = directory
        self.name = name
        """The log file that it belongs to: `{key name}_{model}_{YYYYMMDD}.jsonl`."""
        self.id = id
        """Unique, and in the order of time."""
        self.size = size
        """Bytes, all of them whole lines."""
        self.mark = mark
        """Where it goes in the store; None before that is chosen."""
        self.delivered = False
        """Whether a store has said that it has it."""

    @property
    def instance(self) -> str:
        """The instance that wrote it: the name of the spool's directory."""
        return os.path.basename(self.directory)

    @property
    def stem(self) -> str:
        """The log file's name without its suffix."""
        return self.name[: -len(SUFFIX)]

    @property
    def path(self) -> str:
        mark = f"@{self.mark.index}.{self.mark.position}" if self.mark else ""
        return os.path.join(self.directory, f"{self.name}.{self.id}{mark}{'+' if self.delivered else ''}")

    def read(self, start: int, limit_bytes: int) -> bytes:
        """Return at most `limit_bytes` from `start`; BatchGone if the file is not there, or too short."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(start)
                data = file.read(min(limit_bytes, self.size - start))
        except FileNotFoundError:
            raise BatchGone(self.name) from None
        if not data and start < self.size:
            raise BatchGone(self.name)
        return data

    def put_mark(self, mark: Mark) -> None:
        """Write down where the batch goes, before any of it is sent."""
        before = self.path
        self.mark = mark
        try:
            os.rename(before, self.path)
        except FileNotFoundError:
            raise BatchGone(self.name) from None

    def put_delivered(self) -> None:
        """Write down that the store has it."""
        before = self.path
        self.delivered = True
        try:
            os.rename(before, self.path)
        except FileNotFoundError:
            pass

    def age_s(self, now: float) -> float:
        """Return the seconds since the file's last renaming, `now` being seconds since the epoch."""
        return now - os.stat(self.path).st_ctime

    def remove(self) -> None:
        """Remove the file; it may be gone already."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def batches_in(directory: str) -> Iterator[Batch]:
    """Yield the batches of a directory, oldest first, with the sizes that their files have."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _FILE.fullmatch(entry.name)
            if match is not None and entry.is_file():
                found.append((match["id"], match, entry.stat().st_size))
    for id, match, size in sorted(found, key=lambda each: each[0]):
        mark = Mark(int(match["index"]), int(match["position"])) if match["index"] else None
        batch = Batch(directory, match["name"], id, size, mark)
        batch.delivered = bool(match["delivered"])
        yield batch
