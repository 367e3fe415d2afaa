"""The `console` observer: one line of text for each exchange."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import LogEvent, Logger

from .json_lines import WriteFailures
from .record import text_line
from .stdout import StandardOutput


class LineObserver:
    """Turns exchanges into lines for standard output, a batch at a time.

    If standard output is closed or is the null device, as in a daemon,
    the lines go to the text log.
    """

    def __init__(
        self,
        line: Callable[[LogEvent], str],
        output: StandardOutput | None = None,
        log: Logger | None = None,
    ) -> None:
        self._line = line
        self._output = output or StandardOutput()
        self._log = log or Logger(namespace="openai_proxy.exchange")
        self._to_log = False
        self._lines: list[bytes] = []
        self.failures = WriteFailures(self._log)
        """Counts the lines that nobody read; they are told when the output is read again."""

    def start(self) -> None:
        self._to_log = not self._output.start()

    def __call__(self, event: LogEvent) -> None:
        line = self._line(event)
        if self._to_log:
            self._log.info("{line}", line=line)
        else:
            self._lines.append(line.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        """Write what was collected, in one go if the output allows."""
        lines, self._lines = self._lines, []
        before = self._output.dropped_lines
        self._output.write(lines)
        self.failures.lost_lines += self._output.dropped_lines - before
        if before and self._output.dropped_lines == before and lines:
            # Said only now that the output is read again: the text log may well be the same pipe.
            self._output.dropped_lines = 0
            self._log.warn("{count} lines were not written: standard output was not read", count=before)


def console_line(event: LogEvent) -> str:
    """Return the console's line of an exchange event."""
    return text_line(event["exchange"])


def console_line_without_address(event: LogEvent) -> str:
    """Return the console's line without the client's address."""
    return text_line(event["exchange"], with_address=False)
