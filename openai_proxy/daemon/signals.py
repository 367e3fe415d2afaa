"""Unix signals, as a daemon's operator expects them.

Twisted's own handlers raise a traceback at the second SIGTERM, and SIGHUP kills
a stock twistd; these handlers replace them once the reactor runs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.python.logfile import BaseLogFile, LogFile

from ..logs import logger

log = logger("openai_proxy")


def install(
    reactor: Any,
    *,
    terminate: Callable[[], None],
    reload: Callable[[], None],
    reopen: Callable[[], None],
) -> None:
    """Route SIGTERM, SIGINT, SIGHUP, SIGUSR1 into the reactor's thread.

    Called by `reactor.callWhenRunning`, so that these handlers are installed last.
    """

    def handler(function: Callable[[], None]) -> Callable[[int, Any], None]:
        return lambda number, frame: reactor.callFromThread(function)

    log_file = twistd_log_file()
    if isinstance(log_file, LogFile):
        # it would rotate at each megabyte, delete nothing, and rename all files each time
        log_file.rotateLength = None

    def reopen_all() -> None:
        if log_file is not None:
            reopen_log(log_file)
        reopen()

    signal.signal(signal.SIGTERM, handler(terminate))
    signal.signal(signal.SIGINT, handler(terminate))
    signal.signal(signal.SIGHUP, handler(reload))
    signal.signal(signal.SIGUSR1, handler(reopen_all))


def reopen_log(log_file: BaseLogFile) -> None:
    """Reopen twistd's log file under its name; if that fails, log it and keep the old file.

    It fails, for example, after `--uid` in a directory of root's. Twisted's own
    method closes the old file first, so everything logged after that would be
    lost.
    """
    try:
        with open(log_file.path, "ab+"):
            pass
    except OSError as error:
        log.error(
            "cannot open the log file anew, the old one stays in use: {path}: {reason}",
            path=log_file.path,
            reason=error.strerror,
        )
        return
    log_file.reopen()


_ENDING = (signal.SIGTERM, signal.SIGINT)


def remember(numbers: list[int]) -> None:
    """Record signals that come before `install`: SIGTERM, SIGINT and SIGHUP are appended to `numbers`.

    For a start that takes some time.
    """
    for number in (*_ENDING, signal.SIGHUP):
        signal.signal(number, lambda received, frame: numbers.append(received))


def ends(numbers: list[int]) -> bool:
    """Return whether one of these signals asks for the end."""
    return any(number in _ENDING for number in numbers)


def twistd_log_file() -> BaseLogFile | None:
    """Return the log file that twistd opened, or None.

    twistd keeps it only in the closure of its own SIGUSR1 handler, which
    rotates; logrotate moves files itself and needs them reopened.
    """
    closure = getattr(signal.getsignal(signal.SIGUSR1), "__closure__", None) or ()
    for cell in closure:
        if isinstance(cell.cell_contents, BaseLogFile):
            return cell.cell_contents
    return None
