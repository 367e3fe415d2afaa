"""The worker processes: start them, replace those that end, end them.

The supervisor decides when they start and end, on which sockets and with which
settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from ..daemon.observers import configured_models
from ..logs import logger
from ..net.handover import Handover, handover_pair
from ..net.listening import StartError
from ..policies.limits.embedded import EmbeddedStore
from ..settings import Settings
from . import messages
from .combined_live import CombinedLive
from .link import Link
from .metrics import CombinedMetrics
from .process import CLEAN, Launcher, WorkerProcess
from .reload import change_over
from .restarts import Restarts
from .shared_cache import Shelf
from .shared_calls import CallServer
from .shared_health import HealthServer
from .shared_limits import LimitServer
from .shared_state import StateServer, counts_of
from .worker_log import write

log = logger("openai_proxy")

START_S = 180.0
"""The time that workers may take to start: several that share little CPU time need more than a minute."""
KEYS_S = 1.0
"""The time to wait for workers to read the key store; they also read it by themselves that often."""
KILL_AFTER_S = 8.0
"""The time beyond the drain that an ending worker may take: 2 s to cut clients off, 3.5 s to ship logs, and a reserve."""


class WorkerPool:
    """All workers of a daemon, by number; the first is 1. Owned by the supervisor.

    States: built, starting (`spawn_all`: a worker that ends makes the start
    fail), running (`keep`: a worker that ends is replaced), ending (`end`),
    ended. `settings` are those that a worker starts with, `sockets` the
    descriptors that it inherits. This class holds what they share: limits and
    metrics.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float],
        launcher: Launcher,
        settings: Callable[[], Settings],
        sockets: Callable[[], Sequence[int]],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._started_at = clock()
        self._launcher = launcher
        self._settings = settings
        self._sockets = sockets
        self._processes: dict[int, WorkerProcess] = {}
        self._ready_at: dict[WorkerProcess, float] = {}
        self._restarts = {number: Restarts() for number in range(1, settings().workers + 1)}
        self._timers: dict[int, Any] = {}
        self._limits = EmbeddedStore(clock)
        self._shelf = Shelf(
            lambda: _cache_bytes(settings()),
            clock,
            lambda family: self.send_all(messages.CACHE_FORGET, family),
        )
        self._calls = CallServer(reactor)
        self._health = HealthServer(clock)
        self._state = StateServer(reactor)
        self._resize_state()
        self._metrics = CombinedMetrics(reactor, lambda: self.ready, lambda: configured_models(settings()))
        self._live = CombinedLive(
            reactor, lambda: self.ready, self._metrics.figures, lambda: settings().live.history
        )
        self._kept = False
        self._ended: Deferred[None] | None = None
        self._kill_timer: Any = None

    @property
    def ready(self) -> list[WorkerProcess]:
        """The workers that have started and can receive messages."""
        return [each for each in self._processes.values() if each.is_ready and not each.link.is_lost]

    @property
    def pids(self) -> list[int]:
        """The process id of each worker, also of one that has ended and has no successor yet."""
        return [each.pid for each in self._processes.values()]

    def send_all(self, name: str, value: Any = None) -> None:
        """Send a message to every worker."""
        for each in self._processes.values():
            each.link.send(name, value)

    def _tell_others(self, process: WorkerProcess, news: Any) -> None:
        """Pass one worker's news of an upstream to the others, and to those that start later."""
        self._health.note(news)
        for each in self._processes.values():
            if each is not process:
                each.link.send(messages.HEALTH, news)

    def note_reload(self, worked: bool) -> None:
        """Show in the metrics whether the last reload worked."""
        self._metrics.reload_worked.set(float(worked))

    # ---- start

    def spawn_all(self) -> None:
        """Start every worker; raise StartError if the system cannot create a process."""
        try:
            for number in self._restarts:
                self._spawn(number)
        except OSError as error:
            raise StartError(f"workers: cannot start a process: {error.strerror}") from error

    def all_ready(self) -> bool:
        """Return whether every worker accepts connections; raise StartError if one never will, or no longer."""
        for each in self._processes.values():
            if each.failure is not None:
                raise StartError(each.failure)
            # also one that was ready: only those that end after `keep` are replaced
            why = each.why_gone()
            if why is not None:
                raise StartError(f"a worker ended while it started: {why}")
        return all(each.is_ready for each in self._processes.values())

    def keep(self) -> None:
        """From now on, replace a worker that ends."""
        self._kept = True
        self._live.start()

    def _spawn(self, number: int) -> None:
        """Start a process; raise OSError if the system cannot create one."""
        process = WorkerProcess(number, self._launcher.output, self._process_ended)
        limit_server = LimitServer(self._limits)
        link = Link(
            on_message={
                messages.READY: lambda _: self._process_ready(process),
                messages.DRAINING: lambda _: setattr(process, "is_draining", True),
                messages.FAILED: lambda line: setattr(process, "failure", line),
                messages.LOG: lambda line: write(line, number),
                messages.COUNTS: partial(self._metrics.report, process),
                messages.LIVE: partial(self._live.changed, process),
                messages.WATCH: partial(self._live.watch, process),
                messages.FINISH: limit_server.finish,
                messages.CANCEL: limit_server.cancel,
                messages.SETTLE: limit_server.settle,
                messages.HEALTH: partial(self._tell_others, process),
                messages.CACHE_PUT: self._shelf.keep,
                messages.CACHE_FORGET: self._shelf.drop_family,
                messages.KEEP_STATE: self._state.keep,
                messages.CALL_OFFERED: partial(self._calls.offer, process),
                messages.CALL_CLOSED: partial(self._calls.close, process),
            },
            on_request={
                messages.SCRAPE: self._metrics.page,
                messages.ADMIT: limit_server.admit,
                messages.CACHE_GET: self._shelf.find,
                messages.FIND_STATE: self._state.find,
                messages.CALL_FIND: partial(self._calls.find, process),
                messages.CALL_CLAIM: partial(self._calls.claim, process),
                messages.COUNT: lambda _: counts_of(self._reactor, lambda: self.ready),
                messages.KEYS_CHANGED: partial(self._spread_keys, process),
                messages.LIVE_LIST: self._live.listing,
                messages.LIVE_ONE: self._live.one,
                messages.LIVE_CANCEL: self._live.cancel,
                messages.LIVE_SNAPSHOT: self._live.snapshot,
            },
            lost=partial(_lost, [limit_server.close, partial(self._calls.forget, process)], process),
        )
        sockets = self._sockets()
        ours, theirs = handover_pair()
        process.handover = Handover(self._reactor, ours, partial(self._calls.pass_on, process))
        try:
            process.start(self._launcher, link, [*sockets, theirs.fileno()])
        except OSError:
            process.handover.close()
            raise
        finally:
            theirs.close()
        self._processes[number] = process
        *inherited, handover = range(3, 4 + len(sockets))
        start = messages.Start(
            self._settings(), len(self._restarts), tuple(inherited), handover, self._started_at
        )
        link.send(messages.START, start)
        self._health.send_all(link)

    def _process_ready(self, process: WorkerProcess) -> None:
        process.is_ready = True
        self._ready_at[process] = self._clock()
        self._live.is_ready(process)
        if self._kept:
            log.info("worker {number} is ready, process {pid}", number=process.number, pid=process.pid)

    def _spread_keys(self, by: WorkerProcess, cut: str | None) -> Deferred[Any]:
        """Let all workers except `by` read the key store; fires when they have, or after KEYS_S."""
        others = [each for each in self.ready if each is not by]
        asked = [each.link.request(messages.KEYS, cut).addTimeout(KEYS_S, self._reactor) for each in others]
        # a worker logs its own failure, and reads again soon
        return DeferredList(asked, consumeErrors=True).addCallback(lambda _: None)

    # ---- a worker has ended

    def _process_ended(self, process: WorkerProcess) -> None:
        self._metrics.end(process)
        self._live.lost(process)
        ready_at = self._ready_at.pop(process, None)
        if self._ended is not None:
            self._maybe_ended()
        elif self._kept:
            delay_s = 0.0
            if not process.was_replaced:
                served_s = 0.0 if ready_at is None else self._clock() - ready_at
                delay_s = self._restarts[process.number].delay_s(served_s)
                _tell_end(process, delay_s)
                self.send_all(messages.REOPEN)  # it may have left half a line, which opening the file repairs
            self._restart_in(process.number, delay_s)

    def _restart_in(self, number: int, delay_s: float) -> None:
        self._timers[number] = self._reactor.callLater(delay_s, self._restart, number)

    def _restart(self, number: int) -> None:
        del self._timers[number]
        try:
            self._spawn(number)
        except OSError as error:
            delay_s = self._restarts[number].delay_s(0.0)
            log.error(
                "worker {number} cannot be started: {reason}; another try in {delay_s:g} s",
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

    # ---- new settings

    def commit(self, prepared: Sequence[WorkerProcess]) -> Deferred[Any]:
        """Switch all workers to the settings that these have `prepared`; see `change_over`."""
        self._shelf.fit()
        self._health.forget()
        self._resize_state()
        return change_over(self._reactor, self._processes.values(), prepared)

    def _resize_state(self) -> None:
        routing = self._settings().routing
        self._state.resize(routing.state_entries, routing.state_ttl_s)

    # ---- the end

    def end(self, drain_timeout_s: float) -> Deferred[None]:
        """Let the workers drain, and kill those that take too long; fires when all have ended. Call once."""
        self._ended = Deferred()
        self._live.stop()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.send_all(messages.DRAIN)
        for each in self._processes.values():
            if not each.is_ready:
                each.kill()  # it serves no client yet
        self._kill_in(drain_timeout_s + KILL_AFTER_S)
        self._maybe_ended()
        return self._ended

    def abort(self) -> None:
        """Make every worker abort its running exchanges."""
        self.send_all(messages.ABORT)
        self._kill_in(KILL_AFTER_S)

    def kill(self) -> None:
        """Kill all workers that still run."""
        for each in self._processes.values():
            each.kill()

    def _kill_in(self, seconds: float) -> None:
        if self._kill_timer is not None and self._kill_timer.active():
            self._kill_timer.cancel()
        self._kill_timer = self._reactor.callLater(seconds, self._kill_late)

    def _kill_late(self) -> None:
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
        self._ended.callback(None)


def _lost(close: Sequence[Callable[[], None]], process: WorkerProcess) -> None:
    """Clean up after a worker whose link is closed."""
    for each in close:
        each()
    process.link_lost()


def _cache_bytes(settings: Settings) -> int:
    """Return the bound of the embedded cache, 0 if there is none."""
    url = settings.cache.url
    return settings.cache.max_bytes if url is not None and url.get_secret_value() == "memory:" else 0


def _tell_end(process: WorkerProcess, delay_s: float) -> None:
    what = f"worker {process.number}, process {process.pid}, "
    why = process.why_not_started()
    what += f"ended with {process.reason}" if why is None else f"could not start: {why}"
    then = f"in {delay_s:g} s" if delay_s else "now"
    tell = log.info if process.is_ready and process.reason == CLEAN else log.error
    tell("{what}; another one starts {then}", what=what, then=then)
