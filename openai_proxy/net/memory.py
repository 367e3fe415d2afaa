"""The memory that this process may use, for bounds that are a share of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

_CGROUP_FILES = (
    "/sys/fs/cgroup/memory.max",  # version 2, in a container
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",  # version 1
)


_UNKNOWN_BYTES = 1024**3
"""The assumed memory if the system does not report any."""


def memory_bytes(
    read: Callable[[str], str] = lambda path: Path(path).read_text("ascii"),
    sysconf: Callable[[str], int] = os.sysconf,
) -> int:
    """Return the memory that this process may use: the machine's, or its cgroup's limit if that is smaller.

    Older C libraries read /proc/meminfo, which systemd's `ProcSubset=pid`
    hides: they return -1, or nothing.
    """
    try:
        found = sysconf("SC_PAGE_SIZE") * sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        found = 0
    if found <= 0:
        found = _UNKNOWN_BYTES
    for path in (*_CGROUP_FILES, *_own_groups(read)):
        try:
            limit = read(path).strip()
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            found = min(found, int(limit))
    return found


def _own_groups(read: Callable[[str], str]) -> list[str]:
    """Return the files of this process's own group and those above it (cgroups(7), version 2): a unit's `MemoryMax`."""
    try:
        lines = read("/proc/self/cgroup").splitlines()
    except (OSError, ValueError):
        return []
    own = PurePosixPath(next((line[3:] for line in lines if line.startswith("0::/")), "/"))
    return [f"/sys/fs/cgroup{group}/memory.max" for group in (own, *own.parents) if group.name]


def default_limit_bytes() -> int:
    """Return a quarter of the memory."""
    return memory_bytes() // 4
