"""The `json` observer: the metadata of each exchange as a JSON line."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.logger import LogEvent, Logger

from ...logs import logger
from .append_file import LOOK_EVERY_S, AppendFile, LinesLost
from .encode import json_line
from .record import metadata


class WriteFailures:
    """Counts the lines that a file did not take; logs that once until it works again, with what happens `meanwhile`."""

    def __init__(self, log: Logger, meanwhile: str = "lines are lost, requests go on") -> None:
        self._log = log
        self._meanwhile = meanwhile
        self.lost_lines = 0
        """Since the start."""
        self._failing = False

    def failed(self, path: str, error: OSError, lines: int) -> None:
        """Note that this number of `lines` could not be appended."""
        self.lost_lines += error.lines if isinstance(error, LinesLost) else lines
        if not self._failing:
            self._failing = True
            self._log.error(
                "cannot write {path}: {reason}; {meanwhile}",
                path=path,
                reason=error.strerror or "unknown error",
                meanwhile=self._meanwhile,
            )

    def worked(self) -> None:
        if self._failing:
            self._failing = False
            self._log.info("writing again after {lines} lost lines in all", lines=self.lost_lines)


class JSONFileObserver:
    """Appends one JSON object a line to a file, a batch with each write.

    A file that somebody deletes is made anew, at the latest LOOK_EVERY_S later
    by `clock`, which gives monotonic seconds.
    """

    def __init__(
        self,
        path: str,
        log: Logger | None = None,
        file: AppendFile | None = None,
        *,
        with_address: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._with_address = with_address
        self._clock = clock
        self._looked_at = clock()
        self._file = file or AppendFile(path)
        self._lines: list[bytes] = []
        self._log = log or logger("openai_proxy.observe.json")
        self.failures = WriteFailures(self._log)

    def start(self) -> None:
        self._file.open()

    def __call__(self, event: LogEvent) -> None:
        self._lines.append(json_line(metadata(event["exchange"], with_address=self._with_address)))

    def flush(self) -> None:
        """Write the batch; a full disk is reported once and costs lines only."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            if self._file.deleted:
                self.reopen()
        try:
            self._file.append(b"".join(lines))
        except OSError as error:
            self.failures.failed(self._file.path, error, len(lines))
        else:
            self.failures.worked()

    def reopen(self) -> None:
        """Open the file anew under its name; if that cannot be, say so and go on with the old one."""
        try:
            self._file.reopen()
        except OSError as error:
            self._log.error(
                "cannot open {path} anew, the old file stays in use: {reason}",
                path=self._file.path,
                reason=error.strerror or "unknown error",
            )

    def stop(self) -> None:
        self.flush()
        self._file.close()


def json_text(event: LogEvent) -> str:
    """Return the JSON object of an exchange event, for standard output."""
    return json_line(metadata(event["exchange"])).decode("utf-8").rstrip("\n")


def json_text_without_address(event: LogEvent) -> str:
    """Return the same without the client's address."""
    return json_line(metadata(event["exchange"], with_address=False)).decode("utf-8").rstrip("\n")
