"""Any other fsspec file system: each batch is an object of its own.

An object's name is made from its batch's, so that one written again after
a lost answer replaces itself.
"""

from __future__ import annotations

from typing import Any

from ..files import SUFFIX
from .batch import Batch


class Objects:
    """Objects below a path of an fsspec file system. Used by one thread."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem = filesystem
        self._path = path.rstrip("/")

    def deliver(self, batch: Batch) -> None:
        """Write the batch; may be called again."""
        self._filesystem.pipe_file(f"{self._path}/{object_name(batch)}", batch.read(0, batch.size))

    def close(self) -> None:
        """Do nothing: fsspec ends its file systems by itself."""


def object_name(batch: Batch) -> str:
    """Return the name of a batch's object: the log file's, the instance, the batch."""
    return f"{batch.stem}.{batch.instance}.{batch.id}{SUFFIX}"
