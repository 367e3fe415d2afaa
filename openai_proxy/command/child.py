"""A program that uses the proxy: `openai-proxy run -- COMMAND`.

It is started when the proxy listens, with `OPENAI_BASE_URL` set; when it ends,
the proxy ends too. Its standard input, output and error are its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..daemon.notes import client_base_url
from ..daemon.service import ProxyService

PLACEHOLDER = "set-by-openai-proxy"
"""The child's OPENAI_API_KEY if the proxy has the real one: SDKs refuse to start without any."""
NOT_STARTED = 127
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_OF_TERMINALS = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal also sends to the child itself."""
_WEB_PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def environment(own: Mapping[str, str], url: str, *, has_key: bool, needs_key: bool) -> dict[str, str]:
    """Return the child's environment.

    `has_key`: the proxy adds the upstream's key, which the child does not
    receive. `needs_key`: the child must send a key of its own.
    """
    made = {**own, "OPENAI_BASE_URL": url, "OPENAI_API_BASE": url}
    if has_key or not (needs_key or own.get("OPENAI_API_KEY")):
        made["OPENAI_API_KEY"] = PLACEHOLDER
        made.pop("OPENAI_API_KEY_FILE", None)
    if any(own.get(name) for name in _WEB_PROXIES):
        host = urlsplit(url).hostname or ""
        for name in ("NO_PROXY", "no_proxy"):
            made[name] = ",".join(filter(None, (own.get(name), host)))
    return made


class Child:
    """One run of the program.

    States: waiting (until `begin`), running, ended (`status` is its exit
    status, 128 + the signal that killed it, or 127 if it could not be started).
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.status: int | None = None
        self.failure: str | None = None
        """Why the program could not be started."""
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        """Signals that came while the program was being started."""
        self._reactor: Any = None
        self._service: ProxyService

    def follow(self, reactor: Any, service: ProxyService) -> None:
        """Begin when the daemon serves, and take over its signals."""
        self._reactor, self._service = reactor, service
        # a turn later: the service's own work at the start of the reactor comes first
        reactor.callWhenRunning(reactor.callLater, 0, self._begin)

    def _begin(self) -> None:
        service = self._service
        if service.is_ending:  # a signal came while it started
            return
        url = client_base_url(service.addresses)
        if url is None:
            self._not_started("--port: a program behind the proxy needs a TCP port")
            return
        settings = service.serving.exchanger.settings
        environ = environment(
            os.environ,
            url,
            has_key=service.serving.exchanger.mode != "pass-through",
            needs_key=settings.auth.required == "true" and settings.upstream.base_url.startswith("https:"),
        )
        for number in (*_PASSED_ON, *_OF_TERMINALS):
            signal.signal(number, self._signalled)
        try:
            self._process = subprocess.Popen(self.command, env=environ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._not_started(f"{self.command[0]}: {reason}")
            return
        early, self._early = self._early, []
        for missed in early:
            self._signalled(missed, None)
        threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()

    def _not_started(self, reason: str) -> None:
        self.failure, self.status = reason, NOT_STARTED
        self._service.terminate()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end; in a thread of its own."""
        code = process.wait()
        self._reactor.callFromThread(self._ended, code if code >= 0 else 128 - code)

    def _ended(self, status: int) -> None:
        self.status = status
        self._service.terminate()

    def _signalled(self, number: int, frame: object) -> None:
        process = self._process
        if self.status is not None:
            self._reactor.callFromThread(self._service.terminate)
        elif process is None:  # it may run before Popen has returned
            self._early.append(number)
        elif number in _PASSED_ON or not _at_terminal():
            with contextlib.suppress(OSError):
                process.send_signal(number)


def _at_terminal() -> bool:
    """Return whether this process group is in a terminal's foreground, so that ^C reaches the child by itself."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
