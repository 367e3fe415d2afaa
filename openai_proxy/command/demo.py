"""`openai-proxy demo`: the proxy with a mock upstream, to try it without a key or a network."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..daemon.notes import client_base_url, next_step
from ..daemon.service import ProxyService
from ..workers.supervisor import Supervisor
from .run import EPHEMERAL, QuietOptions, run

DEFAULT_PORT = 8080
_INTRO = """\
This is openai-proxy with a mock upstream: no key, no network, no cost. Ctrl-C ends it.

In another terminal:
  {curl}

In a browser:
  {page}
  {page}dashboard

For your programs:
  export OPENAI_BASE_URL={base_url} OPENAI_API_KEY=anything

Requests appear below."""


class DemoOptions(QuietOptions):
    """The options of a demonstration, which ignores the configuration of a real proxy."""

    program = "openai-proxy demo"
    more_usage = ""
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self._output = sys.stdout  # twistd's machinery replaces it

    def postOptions(self) -> None:
        """Use the mock as upstream, and a free port, unless others are given."""
        self["upstream"] = self["upstream"] or "mock:"
        self["env-file"] = self["env-file"] or os.devnull
        self.repeated["port"] = self.repeated["port"] or [free_port(DEFAULT_PORT)]
        super().postOptions()

    def made(self, reactor: Any, service: ProxyService | Supervisor) -> None:
        """Print commands to try when the daemon listens."""
        assert isinstance(service, ProxyService)  # of one process, see `QuietOptions`
        reactor.callWhenRunning(reactor.callLater, 0, self._introduce, service)

    def _introduce(self, service: ProxyService) -> None:
        url = client_base_url(service.addresses)
        step = next_step(service.serving.exchanger.settings, service.addresses)
        if url is None or step is None:  # the port is a Unix socket
            return
        page = url.removesuffix("v1")
        text = _INTRO.format(curl=step.removeprefix("try: "), page=page, base_url=url)
        with contextlib.suppress(OSError):  # nobody reads the output
            print(text, file=self._output, flush=True)


def free_port(preferred: int) -> str:
    """Return an endpoint on loopback: with this port, or with any port if another program has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return EPHEMERAL
    return f"tcp:{preferred}:interface=127.0.0.1"


def parser() -> DemoOptions:
    """Return the parser of this sub-command."""
    return DemoOptions()


def main(arguments: Sequence[str]) -> int:
    """Run until a signal ends it; return the exit status."""
    return run(DemoOptions(), arguments)
