"""An example observer: writes the exchanges that took long to a file.

`twistd openai-proxy --observer slow:file=slow.txt:over_s=10`
"""

from __future__ import annotations

import os

from attrs import define, field
from twisted.logger import LogEvent
from twisted.plugin import IPlugin
from zope.interface import implementer

from openai_proxy.observe.interfaces import IObserverFactory, Observer, ObserverOptions


@define
class SlowRequests:
    """Collects a line for each slow exchange; `flush` ends a batch of them."""

    path: str
    over_s: float
    _lines: list[str] = field(factory=list)
    _fd: int = -1

    def start(self) -> None:
        """Open the file: only now, for the daemon has forked by now."""
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def __call__(self, event: LogEvent) -> None:
        exchange = event["exchange"]
        if exchange.duration_s >= self.over_s:
            self._lines.append(f"{exchange.id} {exchange.endpoint} {exchange.duration_s:.3f}\n")

    def flush(self) -> None:
        lines, self._lines = self._lines, []  # first: what cannot be written shall not pile up
        if lines:
            os.write(self._fd, "".join(lines).encode())

    def reopen(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@implementer(IPlugin, IObserverFactory)
class SlowRequestsFactory:
    """What `--observer slow:...` finds."""

    name = "slow"
    help = "slow:file=PATH[:over_s=10]: the exchanges that took long"

    def build(self, options: ObserverOptions) -> Observer:
        parameters = options.parameters("file", "over_s")
        if "file" not in parameters:
            raise ValueError("say where to: slow:file=PATH")
        return SlowRequests(os.path.abspath(parameters["file"]), float(parameters.get("over_s", "10")))
