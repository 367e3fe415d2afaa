"""Unix signals, as a daemon's operator expects them.

Twisted's own handlers raise a traceback at the second SIGTERM, and SIGHUP
kills a stock twistd; these replace them once the reactor runs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.python.logfile import BaseLogFile


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

    def reopen_all() -> None:
        if log_file is not None:
            log_file.reopen()
        reopen()

    signal.signal(signal.SIGTERM, handler(terminate))
    signal.signal(signal.SIGINT, handler(terminate))
    signal.signal(signal.SIGHUP, handler(reload))
    signal.signal(signal.SIGUSR1, handler(reopen_all))


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
