"""The files of a directory of recorded exchanges: found, opened, unpacked, read line by line."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

LONGEST_LINE_BYTES = 64 * 1024 * 1024
MOST_UNPACKED_BYTES = 4 * 1024 * 1024 * 1024
"""Of all compressed files of a directory, as they are on disk while they are replayed."""
_PART_BYTES = 1024 * 1024
_TORN = (EOFError, gzip.BadGzipFile, zlib.error)

Warn = Callable[[str], None]


def recorded_files(directory: Path) -> list[Path]:
    """Return the files of a directory that hold lines, compressed or not. Raises OSError."""
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is no directory")
    return sorted(path for path in directory.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))


def is_packed(file: Path) -> bool:
    """Whether a file is compressed."""
    return file.suffix == ".gz"


def unpacked(file: Path, most_bytes: int, warn: Warn) -> IO[bytes]:
    """Return a nameless temporary file with what a compressed one holds, up to a number of bytes.

    What is torn is read as far as it goes. Raises OSError.
    """
    made = cast("IO[bytes]", tempfile.TemporaryFile(prefix="openai-proxy-"))  # noqa: SIM115  # the caller closes it
    left = most_bytes
    try:
        with gzip.GzipFile(file) as packed:
            while data := packed.read1(min(_PART_BYTES, left + 1)):
                if len(data) > left:
                    warn(f"{file.name} is longer than what is unpacked: its end is not replayed")
                    break
                made.write(data)
                left -= len(data)
    except _TORN:
        warn(f"{file.name} is torn: what follows is not replayed")
    except BaseException:
        made.close()
        raise
    made.flush()
    return made


def lines_of_file(file: Path, warn: Warn) -> Iterator[tuple[int, int, bytes]]:
    """Yield the lines of a file, compressed or not, as `lines_of` does. Raises OSError."""
    if not is_packed(file):
        with file.open("rb") as opened:
            yield from lines_of(opened, file.name, warn)
        return
    try:
        with cast("IO[bytes]", gzip.open(file, "rb")) as opened:
            yield from lines_of(opened, file.name, warn)
    except _TORN:
        warn(f"{file.name} is torn: what follows is not replayed")


def lines_of(opened: IO[bytes], name: str, warn: Warn) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, beginning and text of each line of a file; a torn last one is left out."""
    offset = number = 0
    while data := opened.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        begin, offset = offset, offset + len(data)
        if len(data) > LONGEST_LINE_BYTES:
            warn(f"{name}:{number} is longer than {LONGEST_LINE_BYTES} bytes: not replayed")
            while data and not data.endswith(b"\n"):
                data = opened.readline(_PART_BYTES)
                offset += len(data)
        elif data.endswith(b"\n") and data.strip():
            yield number, begin, data
