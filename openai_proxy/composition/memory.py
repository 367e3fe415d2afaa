"""How much memory this process may use, for what is bounded by a share of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_CGROUP_FILES = (
    "/sys/fs/cgroup/memory.max",  # version 2, as a container sees its own group
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",  # version 1
)


def memory_bytes(read: Callable[[str], str] = lambda path: Path(path).read_text("ascii")) -> int:
    """Return the memory that this process may use: the machine's, or its cgroup's limit where that is smaller."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_FILES:
        try:
            limit = read(path).strip()
        except OSError:
            continue
        if limit.isdigit():
            found = min(found, int(limit))
    return found


def default_limit_bytes() -> int:
    """Return a quarter of the memory."""
    return memory_bytes() // 4
