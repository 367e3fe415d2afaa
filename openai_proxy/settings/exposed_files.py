"""Find files with secrets that every user of this machine can read."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

_MOUNTS = ("/run/", "/var/run/")
"""The directories where Docker and systemd mount secrets; the operator does not choose the mode there."""


def exposed_files(files: Iterable[tuple[Path, str]]) -> tuple[str, ...]:
    """Return a line for each file that others can read; `files` are paths and descriptions of their contents.

    Skips files that do not exist, and those that Docker, systemd or Kubernetes
    have mounted: everybody who can enter a container is its user anyway.
    """
    lines = {}
    for file, holds in files:
        if _is_exposed(file):
            lines[file] = f"{file} can be read by every user of this machine and holds {holds}: chmod 600 it"
    return tuple(lines.values())


def _is_exposed(file: Path) -> bool:
    try:
        real = file.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError):
        return False
    mounted = str(real).startswith(_MOUNTS) or any(part.startswith("..") for part in real.parts)
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH) and not mounted
