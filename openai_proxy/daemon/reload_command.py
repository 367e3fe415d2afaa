"""`openai-proxy reload PID`: send SIGHUP to a daemon, and wait for the outcome.

For systemd's ExecReload=, which must fail if the daemon refuses. Both the
daemon and the command need the directory that RuntimeDirectory= names.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from .reload_outcome import FILE, RELOADED, runtime_directory

WAIT_S = 60.0
LOOK_EVERY_S = 0.05


def reload(pid: int, wait_s: float = WAIT_S) -> int:
    """Reload the daemon with this process id; return 0 once it uses the new configuration; else print why and return 1."""
    directory = runtime_directory(os.environ)
    if directory is None:
        return _failed("RUNTIME_DIRECTORY is not set: outside systemd, use kill -HUP and read the log")
    file = Path(directory, FILE)
    before = _identity(file)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        return _failed(f"process {pid}: {error.strerror}")
    until = time.monotonic() + wait_s
    while _identity(file) == before:
        if not _runs(pid):
            return _failed("the daemon ended, and did not say whether it reloaded: see its log")
        if time.monotonic() > until:
            return _failed(f"the daemon did not say within {wait_s:g} s whether it reloaded: see its log")
        time.sleep(LOOK_EVERY_S)
    outcome = file.read_text(encoding="utf-8").strip()
    return 0 if outcome == RELOADED else _failed(f"reload {outcome}")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _failed(reason: str) -> int:
    print(f"openai-proxy: {reason}", file=sys.stderr)
    return 1
