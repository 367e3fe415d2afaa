"""Runs inside the daemon of the endurance run: on SIGUSR2 it writes what the process holds to the file $SOAK_PROBE.

One line of JSON: `objects` that the collector knows, `blocks` of Python's
allocator, `timers` of the reactor, and `trimmed_bytes`: the resident memory
once the C library has given back what is free. The last tells memory that is
held from memory that the C library keeps for the next request.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _write(number: int, frame: object) -> None:
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    reactor = sys.modules.get("twisted.internet.reactor")
    held = {
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "timers": len(reactor.getDelayedCalls()) if reactor is not None else 0,  # type: ignore[attr-defined]
        "trimmed_bytes": _resident_bytes(),
    }
    file = Path(os.environ["SOAK_PROBE"])
    new = file.with_suffix(".new")
    new.write_text(json.dumps(held))
    new.replace(file)


if "SOAK_PROBE" in os.environ:
    signal.signal(signal.SIGUSR2, _write)
