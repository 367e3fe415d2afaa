"""The text log of this daemon: Twisted's, with a level that can be set.

`logger()` makes a Logger whose events pass the configured `log_level`;
twistd's --logfile, --logger and --syslog receive what passes.
"""

from __future__ import annotations

from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)

_predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
_filtered = FilteringLogObserver(globalLogPublisher, [_predicate])


def logger(namespace: str) -> Logger:
    """Return a Logger that obeys `set_level`."""
    return Logger(namespace=namespace, observer=_filtered)


def set_level(name: str) -> None:
    """Let events of level `name` (debug, info, warn, error, critical) and above pass."""
    _predicate.setLogLevelForNamespace("", LogLevel.levelWithName(name))
    _predicate.defaultLogLevel = LogLevel.levelWithName(name)
