"""What twistd runs where there are several workers: sockets, signals, log.

It opens the listening sockets, starts the workers, starts anew those that
die, and passes on what an operator asks for. It accepts no connection and
sees no request.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.reactors import getReactorTypes
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from .. import signals
from ..limits.embedded import EmbeddedStore
from ..listening import StartError, announce, one_line
from ..logs import logger, set_level
from ..observe.stdout import StandardOutput
from ..service import ProxyService
from ..settings import Settings, SettingsError
from . import messages as say
from .limits import Desk
from .link import Link, LinkLost
from .metrics import WholeMetrics
from .process import CLEAN, Launcher, WorkerProcess, environment
from .reload import PREPARE_S, Reloading
from .restarts import Restarts
from .scratch import Scratch
from .shares import check_shares
from .sockets import hold, open_door
from .worker_log import write

log = logger("openai_proxy")

START_S = 60.0
"""How long workers may take to start."""
KILL_AFTER_S = 8.0
"""How much longer than the drain an ending worker may take: 2 s to cut clients off, 3.5 s to ship logs, and some."""


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
        self._started_at = self._clock()
        self.settings = settings
        self._checked = self._check(settings)
        self._launcher = launcher or Launcher(
            reactor,
            _reactor_name(reactor),
            environment(os.environ, sys.path, os.getcwd()),
            StandardOutput(),
        )
        self._ports: list[Any] = []
        self._processes: dict[int, WorkerProcess] = {}
        self._ready_at: dict[WorkerProcess, float] = {}
        self._restarts = {number: Restarts() for number in range(1, settings.workers + 1)}
        self._timers: dict[int, Any] = {}
        self._limits = EmbeddedStore(self._clock)
        self._scratch = Scratch()
        self._metrics = WholeMetrics(reactor, lambda: self._ready)
        self._reloading = Reloading(reactor, lambda: self._scratch.shared(load()), self._check, self._commit)
        self._terminating = False
        self._early: list[int] = []
        self._started = False
        self._ended: Deferred[None] | None = None
        self._kill_timer: Any = None

    def _check(self, settings: Settings) -> ProxyService:
        """Build for `settings` what a worker would; raises SettingsError. Opens nothing."""
        check_shares(settings)
        return ProxyService(self._reactor, settings, lambda: settings)

    @property
    def _ready(self) -> list[WorkerProcess]:
        return [each for each in self._processes.values() if each.is_ready and not each.link.is_lost]

    # ---- start

    def privilegedStartService(self) -> None:
        """Open the sockets, while twistd still has the right to low ports."""
        sys.excepthook = one_line
        set_level(self.settings.log_level)
        self._checked.announce()
        self._reactor.callWhenRunning(
            signals.install,
            self._reactor,
            terminate=self._terminate,
            reload=self._reload,
            reopen=lambda: self._tell_all(say.REOPEN),
        )
        signals.remember(self._early)
        for description in self._descriptions:
            self._ports.append(hold(self._reactor, description))
        super().privilegedStartService()

    @property
    def _descriptions(self) -> list[str]:
        """The endpoint strings of all sockets."""
        admin = self.settings.admin.port
        return [*self.settings.ports, *([] if admin is None else [admin])]

    def startService(self) -> None:
        """Start every worker and wait until all accept; raises StartError where one can not."""
        if not os.access(sys.executable, os.X_OK):
            raise StartError(f"workers: {sys.executable} can not be run from here, as several workers need")
        try:
            self.settings = self._scratch.shared(self.settings)
        except SettingsError as error:
            raise StartError(str(error)) from error
        try:
            self._spawn_all()
            self._await_workers()
            if not signals.ends(self._early):
                self._open_doors()
        except BaseException:
            for each in self._processes.values():
                each.kill()
            self._scratch.close()
            raise
        self._started = True
        self._reactor.callWhenRunning(self._begin)
        super().startService()

    def _spawn_all(self) -> None:
        try:
            for number in self._restarts:
                self._spawn(number)
        except OSError as error:
            raise StartError(f"workers: can not start a process: {error.strerror}") from error

    def _await_workers(self) -> None:
        """Return when every worker accepts, or a signal says that none shall."""
        deadline = self._clock() + START_S
        while not all(each.is_ready for each in self._processes.values()):
            if signals.ends(self._early):
                return
            self._refuse_failed(late=self._clock() > deadline)
            # twistd runs the reactor after this: who waits for the start must learn what fails in it
            self._reactor.iterate(0.1)

    def _open_doors(self) -> None:
        for description, port in zip(self._descriptions, self._ports, strict=True):
            open_door(port, description)
        self._tell_all(say.ACCEPT)

    def _begin(self) -> None:
        """The reactor runs, and signals are ours: do what came while the workers started."""
        early, self._early = self._early, []
        if signals.ends(early):
            self._terminate()
            return
        self._announce_ports()
        if early:
            self._reload()

    def _refuse_failed(self, late: bool) -> None:
        for each in self._processes.values():
            if each.failure is not None:
                raise StartError(each.failure)
            why = each.why_gone()
            if why is not None:
                raise StartError(f"a worker ended while it started: {why}")
        if late:
            raise StartError(f"workers: not all were ready after {START_S:.0f} s")

    def _announce_ports(self) -> None:
        mode = self._checked.exchanger.mode
        for position, port in enumerate(self._ports):
            announce(port, spends_key=mode == "inject" and position < len(self.settings.ports))
        pids = ", ".join(str(each.pid) for each in self._processes.values())
        log.info("{count} workers, processes {pids}", count=len(self._processes), pids=pids)

    def _spawn(self, number: int) -> None:
        """Start a process; OSError where the system has none to give."""
        process = WorkerProcess(number, self._launcher.output, self._process_ended)
        desk = Desk(self._limits)
        link = Link(
            told={
                say.READY: lambda _: self._process_ready(process),
                say.FAILED: lambda line: setattr(process, "failure", line),
                say.LOG: lambda line: write(line, number),
                say.COUNTS: partial(self._metrics.report, process),
                say.FINISH: desk.finish,
                say.SETTLE: desk.settle,
            },
            asked={say.SCRAPE: self._metrics.page, say.ADMIT: desk.admit},
            lost=partial(_lost, desk, process),
        )
        sockets = [port.fileno() for port in self._ports]
        process.start(self._launcher, link, sockets)
        self._processes[number] = process
        inherited = tuple(range(3, 3 + len(sockets)))
        link.tell(say.START, say.Start(self.settings, len(self._restarts), inherited, self._started_at))

    def _process_ready(self, process: WorkerProcess) -> None:
        process.is_ready = True
        self._ready_at[process] = self._clock()
        if self._started:
            log.info("worker {number} is ready, process {pid}", number=process.number, pid=process.pid)

    # ---- a worker ended

    def _process_ended(self, process: WorkerProcess) -> None:
        self._metrics.end(process)
        ready_at = self._ready_at.pop(process, None)
        if self._ended is not None:
            self._maybe_ended()
        elif self._started:
            delay_s = 0.0
            if not process.was_replaced:
                served_s = 0.0 if ready_at is None else self._clock() - ready_at
                delay_s = self._restarts[process.number].delay_s(served_s)
                self._tell_end(process, delay_s)
                self._tell_all(say.REOPEN)  # it may have left half a line, which opening a file heals
            self._restart_in(process.number, delay_s)

    def _tell_end(self, process: WorkerProcess, delay_s: float) -> None:
        what = f"worker {process.number}, process {process.pid}, "
        why = process.why_not_started()
        what += f"ended with {process.reason}" if why is None else f"could not start: {why}"
        then = f"in {delay_s:g} s" if delay_s else "now"
        tell = log.info if process.is_ready and process.reason == CLEAN else log.error
        tell("{what}; another one starts {then}", what=what, then=then)

    def _restart_in(self, number: int, delay_s: float) -> None:
        self._timers[number] = self._reactor.callLater(delay_s, self._restart, number)

    def _restart(self, number: int) -> None:
        del self._timers[number]
        try:
            self._spawn(number)
        except OSError as error:
            delay_s = self._restarts[number].delay_s(0.0)
            log.error(
                "worker {number} can not be started: {reason}; another try in {delay_s:g} s",
                number=number,
                reason=error.strerror,
                delay_s=delay_s,
            )
            self._restart_in(number, delay_s)
        else:
            self._metrics.restarted.inc()
            self._reactor.callLater(START_S, self._kill_unready, self._processes[number])

    def _kill_unready(self, process: WorkerProcess) -> None:
        if self._ended is None and not (process.is_ready or process.is_ended):
            log.error("worker {number} does not start: killing it", number=process.number)
            process.kill()

    # ---- reload

    def _reload(self) -> None:
        if self._ended is None:
            self._reloading.begin(lambda: self.settings, lambda: self._ready)

    def _commit(self, settings: Settings, prepared: list[WorkerProcess]) -> Deferred[Any]:
        """Use `settings` from now on; workers that had not prepared are replaced. Fires when all use them."""
        if self._ended is not None:
            return succeed(None)
        committed: list[Deferred[Any]] = []
        self.settings = settings
        set_level(settings.log_level)
        for each in self._processes.values():
            if each in prepared:
                committed.append(self._use_prepared(each))
            elif not each.is_ended:
                each.was_replaced = True
                if each.is_ready:
                    each.link.tell(say.DRAIN)
                else:
                    each.kill()

        return DeferredList(committed)

    def _use_prepared(self, worker: WorkerProcess) -> Deferred[Any]:
        """Fire when a worker uses what it has prepared, or will never: the one in its place begins with it."""
        done = worker.link.ask(say.COMMIT).addTimeout(PREPARE_S, self._reactor)

        def failed(failure: Failure) -> None:
            if not failure.check(LinkLost):
                log.failure("a worker did not take over its new configuration", failure)

        return done.addErrback(failed)

    # ---- stop

    def _tell_all(self, name: str) -> None:
        for each in self._processes.values():
            each.link.tell(name)

    def _terminate(self) -> None:
        """SIGTERM or SIGINT: drain; the second one aborts."""
        if self._terminating:
            log.info("second signal: aborting what still runs")
            self._tell_all(say.ABORT)
            self._kill_in(KILL_AFTER_S)
        else:
            self._terminating = True
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Close the sockets and let the workers drain; fires when all have ended."""
        self._ended = Deferred()
        for port in self._ports:
            port.stopListening()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._tell_all(say.DRAIN)
        for each in self._processes.values():
            if not each.is_ready:
                each.kill()  # it serves nobody yet
        self._kill_in(self.settings.drain_timeout_s + KILL_AFTER_S)
        self._maybe_ended()
        return self._ended

    def _kill_in(self, seconds: float) -> None:
        if self._kill_timer is not None and self._kill_timer.active():
            self._kill_timer.cancel()
        self._kill_timer = self._reactor.callLater(seconds, self._kill)

    def _kill(self) -> None:
        for each in self._processes.values():
            if not each.is_ended:
                log.error("worker {number} does not end: killing it", number=each.number)
                each.kill()

    def _maybe_ended(self) -> None:
        assert self._ended is not None
        if self._ended.called or not all(each.is_ended for each in self._processes.values()):
            return
        if self._kill_timer is not None and self._kill_timer.active():
            self._kill_timer.cancel()
        self._scratch.close()
        self._ended.callback(None)


def _lost(desk: Desk, process: WorkerProcess) -> None:
    """A worker's link is closed."""
    desk.close()
    process.link_lost()


def _reactor_name(reactor: Any) -> str:
    """Return the name under which twistd's --reactor knows this kind of reactor."""
    module = type(reactor).__module__
    names = [each.shortName for each in getReactorTypes() if getattr(each, "moduleName", None) == module]
    return names[0] if names else "default"
