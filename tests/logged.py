"""What is logged while a test runs."""

from contextlib import contextmanager

from twisted.logger import LogLevel, formatEvent, globalLogPublisher


@contextmanager
def log_events():
    """Yield the list of the events that are logged meanwhile."""
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(events.append)


@contextmanager
def log_lines(namespace="openai_proxy", level=LogLevel.debug):
    """Yield the list of the lines that loggers below `namespace` write meanwhile, of this level and above."""
    lines = []

    def keep(event):
        if event.get("log_namespace", "").startswith(namespace) and event["log_level"] >= level:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(keep)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(keep)
