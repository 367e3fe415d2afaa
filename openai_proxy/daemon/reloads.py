"""Report the end of a reload: a line in the log, and a file for `openai-proxy reload`.

systemd's RuntimeDirectory= puts the service's directory into the environment
(RUNTIME_DIRECTORY). If it is set, each reload leaves its outcome there, so that
`systemctl reload` can fail if the daemon refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..logs import logger
from .reload_outcome import FILE, REFUSED, RELOADED, runtime_directory

log = logger("openai_proxy")


def report_reloaded(mode: str) -> None:
    """Report that the new configuration is in use."""
    log.info("configuration reloaded, mode {mode}", mode=mode)
    _leave(RELOADED)


def report_refused(reason: str, what: str = "the old configuration stays") -> None:
    """Report that the new configuration is not used; `reason` is one line, without secrets."""
    log.error("reload refused, {what}: {reason}", what=what, reason=reason)
    _leave(f"{REFUSED}{reason}")


def _leave(outcome: str) -> None:
    directory = runtime_directory(os.environ)
    if directory is None:
        return
    try:
        # a new file each time, so that the waiting command can recognise it
        new = Path(directory, f"{FILE}.{os.getpid()}")
        new.write_text(outcome + "\n", encoding="utf-8", errors="backslashreplace")
        new.replace(Path(directory, FILE))
    except OSError as error:
        log.warn("warning: the outcome of the reload cannot be written: {reason}", reason=error.strerror)
