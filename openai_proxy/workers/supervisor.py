"""The service that twistd runs if there are several workers: sockets, signals, log.

It opens the listening sockets, lets its `WorkerPool` start and replace the workers,
and passes on the operator's requests. It accepts no connection and sees no
request.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.application.reactors import getReactorTypes
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from ..daemon import signals
from ..daemon.cassettes import Cassettes
from ..daemon.connection_limits import log_capacity
from ..daemon.notes import new_notes, next_step
from ..daemon.service import ProxyService
from ..logs import logger, set_level
from ..net.descriptors import raise_limit
from ..net.listening import StartError, announce, describe_port, one_line
from ..net.shared_ports import hold, open_door
from ..observe.lines.stdout import StandardOutput
from ..settings import Settings, SettingsError
from . import messages
from .pool import START_S, WorkerPool
from .process import Launcher, WorkerProcess, environment
from .reload import Reloading
from .scratch import Scratch
from .shares import check_shares, divided

log = logger("openai_proxy")


class Supervisor(Service):
    """The service of several workers.

    States: built, holding the sockets (privilegedStartService), started
    (startService: every worker is ready, and the sockets listen), ending (stopService), ended.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        load: Callable[[], Settings],
        launcher: Launcher | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = time.monotonic
        self.settings = settings
        self._cassettes = Cassettes(reactor)
        self._checked = self._check(settings)
        launcher = launcher or Launcher(
            reactor,
            _reactor_name(reactor),
            environment(os.environ, sys.path, os.getcwd()),
            StandardOutput(),
        )
        self._ports: list[Any] = []
        self._pool = WorkerPool(
            reactor,
            self._clock,
            launcher,
            lambda: self.settings,
            lambda: [port.fileno() for port in self._ports],
        )
        self._scratch = Scratch()
        self._reloading = Reloading(
            reactor,
            lambda: self._scratch.shared(load()),
            self._check,
            self._commit,
            self._pool.note_reload,
            self._cassettes.read_ahead,
        )
        self._terminating = False
        self._stopping = False
        self._early: list[int] = []

    def _check(self, settings: Settings) -> ProxyService:
        """Build for `settings` what a worker would build; raises SettingsError. Opens nothing."""
        check_shares(settings)
        return ProxyService(self._reactor, settings, lambda: settings, cassettes=self._cassettes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each probable mistake in the settings."""
        return self._checked.warnings

    # ---- start

    def privilegedStartService(self) -> None:
        """Open the sockets, while twistd may still open low ports."""
        sys.excepthook = one_line
        raise_limit()
        set_level(self.settings.log_level)
        self._checked.announce()
        self._log_capacity()
        self._reactor.callWhenRunning(
            signals.install,
            self._reactor,
            terminate=self._terminate,
            reload=self._reload,
            reopen=lambda: self._pool.send_all(messages.REOPEN),
        )
        signals.remember(self._early)
        for description in self._descriptions:
            self._ports.append(hold(self._reactor, description))
        super().privilegedStartService()

    def _log_capacity(self) -> None:
        """Log if the workers together serve fewer connections than configured."""
        workers, wanted = self.settings.workers, self.settings.limits.connections
        share = divided(self.settings, 1, workers)
        log_capacity(self._checked.serving.connections.capacity(share), wanted, workers)

    @property
    def _descriptions(self) -> list[str]:
        """The endpoint strings of all sockets."""
        admin = self.settings.admin.port
        return [*self.settings.ports, *([] if admin is None else [admin])]

    def startService(self) -> None:
        """Start every worker and wait until all accept connections; raise StartError if one cannot."""
        if not os.access(sys.executable, os.X_OK):
            raise StartError(f"workers: {sys.executable} cannot be run from here, as several workers need")
        try:
            self.settings = self._scratch.shared(self.settings)
        except SettingsError as error:
            raise StartError(str(error)) from error
        try:
            self._pool.spawn_all()
            self._await_workers()
            if not signals.ends(self._early):
                self._open_doors()
        except BaseException:
            self._pool.kill()
            self._scratch.close()
            raise
        self._pool.keep()
        self._reactor.callWhenRunning(self._begin)
        super().startService()

    def _await_workers(self) -> None:
        """Return when every worker accepts connections, or when a signal asks for the end."""
        deadline = self._clock() + START_S
        while not (signals.ends(self._early) or self._pool.all_ready()):
            if self._clock() > deadline:
                raise StartError(f"workers: not all were ready after {START_S:.0f} s")
            # twistd runs the reactor only after this, and a failing start must be reported to whoever waits for it
            self._reactor.iterate(0.1)

    def _open_doors(self) -> None:
        for description, port in zip(self._descriptions, self._ports, strict=True):
            open_door(port, description)
        self._pool.send_all(messages.ACCEPT)

    def _begin(self) -> None:
        """Take over the signals once the reactor runs, and obey those that came while the workers started."""
        early, self._early = self._early, []
        if signals.ends(early):
            self._terminate()
            return
        self._announce_ports()
        if early:
            self._reload()

    def _announce_ports(self) -> None:
        risk = self._checked.serving.exchanger.risk
        for position, port in enumerate(self._ports):
            announce(port, risk if position < len(self.settings.ports) else None)
        pids = self._pool.pids
        log.info("{count} workers, processes {pids}", count=len(pids), pids=", ".join(map(str, pids)))
        line = next_step(
            self.settings, [describe_port(each) for each in self._ports[: len(self.settings.ports)]]
        )
        if line is not None:
            log.info("{line}", line=line)

    # ---- reload

    def _reload(self) -> None:
        if not self._stopping:
            self._reloading.begin(lambda: self.settings, lambda: self._pool.ready)

    def _commit(self, settings: Settings, prepared: list[WorkerProcess]) -> Deferred[Any]:
        """Use `settings` from now on; fires when all workers do."""
        if self._stopping:
            return succeed(None)
        old, self.settings = self.settings, settings
        set_level(settings.log_level)
        for line in new_notes(old, settings):
            log.info("{line}", line=line)
        return self._pool.commit(prepared)

    # ---- stop

    def _terminate(self) -> None:
        """SIGTERM or SIGINT: drain; the second one aborts."""
        if self._terminating:
            log.info("second signal: aborting what still runs")
            self._pool.abort()
        else:
            self._terminating = True
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Close the sockets and let the workers drain; fire when all have ended."""
        self._stopping = True
        for port in self._ports:
            port.stopListening()
        return self._pool.end(self.settings.drain_timeout_s).addCallback(lambda _: self._scratch.close())


def _reactor_name(reactor: Any) -> str:
    """Return the name under which twistd's --reactor knows this kind of reactor."""
    module = type(reactor).__module__
    names = [each.shortName for each in getReactorTypes() if getattr(each, "moduleName", None) == module]
    return names[0] if names else "default"
