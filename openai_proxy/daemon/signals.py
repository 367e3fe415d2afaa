"""Unix signals, as a daemon's operator expects them.

Twisted's own handlers raise a traceback at the second SIGTERM, and SIGHUP
kills a stock twistd; these replace them once the reactor runs.
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

    Called by `reactor.callWhenRunning`, so that ours come last.
    """

    def handler(function: Callable[[], None]) -> Callable[[int, Any], None]:
        return lambda number, frame: reactor.callFromThread(function)

    log_file = twistd_log_file()
    if isinstance(log_file, LogFile):
        # it would go on to PATH.1 at each megabyte, delete none, and rename all of them each time
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
    """Open twistd's log file anew under its name; if that cannot be, say so and go on with the old one.

    Such as after `--uid`, in a directory that is root's. Twisted's own way
    closes the old file first, and all that is logged from then on is lost.
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
    """Keep what comes before `install`: SIGTERM, SIGINT and SIGHUP go to the end of `numbers`.

    For a start that takes its time.
    """
    for number in (*_ENDING, signal.SIGHUP):
        signal.signal(number, lambda received, frame: numbers.append(received))


def ends(numbers: list[int]) -> bool:
    """Whether one of these signals asks for the end."""
    return any(number in _ENDING for number in numbers)


def twistd_log_file() -> BaseLogFile | None:
    """Return the log file that twistd opened, or None.

    twistd keeps it only in the closure of its own SIGUSR1 handler, which
    rotates; logrotate moves files itself and wants them reopened.
    """
    closure = getattr(signal.getsignal(signal.SIGUSR1), "__closure__", None) or ()
    for cell in closure:
        if isinstance(cell.cell_contents, BaseLogFile):
            return cell.cell_contents
    return None
