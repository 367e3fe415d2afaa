"""A worker process: a `ProxyService` on inherited sockets.

It obeys the supervisor; if the supervisor is gone, it finishes its running
exchanges and ends. `_install_signals` describes its signals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from functools import partial
from typing import Any
from weakref import WeakSet

from twisted.application.reactors import installReactor
from twisted.internet.defer import Deferred, execute
from twisted.logger import globalLogBeginner

from ..daemon.service import PreparedService, ProxyService
from ..daemon.worker_parts import WorkerParts
from ..logs import logger
from ..net.listening import StartError
from ..net.shared_ports import adopt
from ..net.steady_clock import use_steady_clock
from ..observe.publisher import ExchangePublisher
from ..settings import Settings, SettingsError
from . import messages
from .counts import Counts
from .link import Link, LinkFactory
from .live import SharedView
from .shared_cache import SharedCache
from .shared_calls import SupervisedCalls
from .shared_health import SharedHealth
from .shared_limits import SupervisedStore
from .shared_state import SupervisedState, asked_counts
from .shares import divided
from .worker_log import LogSender

log = logger("openai_proxy")


def run(reactor_name: str, number: int) -> None:
    """Run worker `number` until it has to end. The link is standard input."""
    reactor: Any = installReactor(reactor_name)
    use_steady_clock(reactor)
    worker = Worker(reactor, number)
    link_fd = _take_standard_input()
    reactor.callWhenRunning(worker.begin, link_fd)
    reactor.run()


def _take_standard_input() -> int:
    """Return the link's descriptor, and replace it by the null device."""
    link_fd = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.set_blocking(link_fd, False)
    return link_fd


class Worker:
    """The worker's side of the link.

    States: waiting for `start`, serving, ending (on request, or because the
    supervisor is gone).
    """

    def __init__(self, reactor: Any, number: int) -> None:
        self._reactor = reactor
        self._number = number
        self._workers = 1
        self._service: ProxyService | None = None
        self._ports: list[Any] = []
        self._prepared: PreparedService | None = None
        self._preparing = 0
        """The number of reloads that have begun or were dropped."""
        self._closed: Deferred[None] | None = None
        self._ending = False
        self._sender: LogSender | None = None
        self._caches: WeakSet[SharedCache] = WeakSet()
        """The caches that a configuration uses."""
        self.link = Link(
            on_message={
                messages.LIVE_WATCHED: lambda watched: self._live.set_watched(watched),
                messages.LIVE_NEWS: lambda changes: self._live.news(changes),
                messages.LIVE_STATS: lambda stats: self._live.stats(stats),
                messages.START: self._start,
                messages.ACCEPT: lambda _: self._accept(),
                messages.DISCARD: self._discard,
                messages.DRAIN: lambda _: self._drain(),
                messages.ABORT: lambda _: self._abort(),
                messages.REOPEN: lambda _: self._reopen(),
                messages.CACHE_FORGET: self._forget_copies,
                messages.HEALTH: lambda news: self._health.apply(news),
            },
            on_request={
                messages.LIVE_RUNNING: lambda wanted: self._live.running(wanted),
                messages.LIVE_OWN: lambda id: self._live.own(id),
                messages.LIVE_STOP: lambda id: self._live.stop_own(id),
                messages.PREPARE: self._prepare,
                messages.COMMIT: self._commit,
                messages.KEYS: self._look_at_keys,
                messages.COLLECT: lambda _: self._counts.collect(),
                messages.IN_FLIGHT: lambda _: self._in_flight(),
            },
            lost=self._alone,
        )
        self._health = SharedHealth(self.link, reactor.seconds)
        self._calls = SupervisedCalls(self.link, reactor)
        self._counts = Counts(self.link, reactor, self._publisher)
        self._live = SharedView(self.link, reactor)

    def begin(self, link_fd: int) -> None:
        """Open the link and take over the signals; called when the reactor runs."""
        self._install_signals()
        self._sender = sender = LogSender(self.link, self._reactor)
        self._reactor.adoptStreamConnection(link_fd, socket.AF_UNIX, LinkFactory(self.link))
        os.close(link_fd)
        assert self.link.transport is not None
        self.link.transport.registerProducer(sender, True)
        globalLogBeginner.beginLoggingTo([sender], discardBuffer=True, redirectStandardIO=False)

    def _install_signals(self) -> None:
        """Make SIGTERM drain only this worker, however often it comes, because one kill may reach all workers.

        SIGINT and SIGHUP, which a terminal sends to all, stay ignored.
        """

        def call(function: Any) -> Any:
            return lambda number, frame: self._reactor.callFromThread(function)

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, call(self._drain))
        signal.signal(signal.SIGUSR1, call(self._reopen))

    # ---- start

    def _start(self, start: messages.Start) -> None:
        self._workers = start.workers
        with contextlib.suppress(OSError):
            os.chdir(start.settings.directory)  # relative paths refer to the directory of the start
        sockets = iter(start.sockets)
        self._calls.start(socket.socket(fileno=start.handover))

        def listen(reactor: Any, description: str, site: Any) -> Any:
            port = adopt(reactor, next(sockets), description, site)
            self._ports.append(port)
            return port

        parts = WorkerParts(
            listen=listen,
            started_at=start.started_at,
            buckets=SupervisedStore(self.link),
            memory=self._make_cache,
            share_health=self._health.join,
            calls=self._calls,
            state=SupervisedState(self.link),
            upstream_counts=partial(asked_counts, self.link, messages.COUNT),
            metrics=self._counts.page,
            keys_changed=lambda cut: self.link.request(messages.KEYS_CHANGED, cut),
            number=self._number,
            live=self._live.make,
        )
        try:
            service = ProxyService(self._reactor, self._own(start.settings), _no_reload, parts)
            service.privilegedStartService()
            service.startService()
        except (SettingsError, StartError) as error:
            self._fail(str(error))
            return
        except Exception as error:
            log.failure("worker {number} cannot start", number=self._number)
            self._fail(f"{type(error).__name__} at its start")
            return
        self._service = service
        self._reactor.addSystemEventTrigger("before", "shutdown", self._end)
        self._counts.start()
        self.link.send(messages.READY)

    def _accept(self) -> None:
        for port in self._ports:
            if port.connected and not port.disconnecting:
                port.startReading()

    def _fail(self, line: str) -> None:
        self.link.send(messages.FAILED, line)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._close)
        self._reactor.stop()

    def _in_flight(self) -> dict[str, int]:
        route = self._service.serving.exchanger.route if self._service is not None else None
        return {} if route is None else dict(route.in_flight)

    def _publisher(self) -> ExchangePublisher:
        assert self._service is not None  # nothing counts before it is started
        return self._service.serving.publisher

    def _make_cache(self, max_bytes: int) -> SharedCache:
        cache = SharedCache(self.link, max_bytes, self._workers, self._reactor.seconds)
        self._caches.add(cache)
        return cache

    def _forget_copies(self, family: bytes) -> None:
        for cache in self._caches:
            cache.forget_copies(family)

    def _own(self, settings: Settings) -> Settings:
        return divided(settings, self._number, self._workers)

    def _look_at_keys(self, cut: str | None) -> Deferred[None]:
        """Read the stored keys, which another worker has changed."""
        assert self._service is not None  # only ready workers are asked
        return self._service.serving.look_at_keys(cut)

    # ---- reload

    def _prepare(self, settings: Settings) -> Deferred[None]:
        """Fire when everything is built for new settings, or fail with the reason against it."""
        self._discard(None)
        assert self._service is not None
        settings, preparing = self._own(settings), self._preparing
        reading = self._service.serving.cassettes.read_ahead(settings)
        if reading is None:
            return execute(self._build, settings, preparing)
        return reading.addCallback(lambda _: self._build(settings, preparing))

    def _build(self, settings: Settings, preparing: int) -> None:
        if preparing != self._preparing or self._service is None:
            raise SettingsError("another reload began")  # the caller no longer waits for this one
        try:
            self._prepared = self._service.prepare(settings)
        except OSError as error:
            raise StartError(f"an observer cannot start: {error}") from error

    def _commit(self, _: Any) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and self._service is not None:
            self._service.commit(prepared)

    def _discard(self, _: Any) -> None:
        self._preparing += 1
        prepared, self._prepared = self._prepared, None
        if prepared is not None and self._service is not None:
            self._service.discard(prepared)

    def _reopen(self) -> None:
        if self._service is not None:
            self._publisher().reopen()

    # ---- the end

    def _drain(self) -> None:
        if self._ending:
            return
        self._ending = True
        self.link.send(messages.DRAINING)
        if self._service is not None:
            self._service.terminate()
        else:
            self._reactor.stop()

    def _abort(self) -> None:
        self._drain()
        if self._service is not None:
            self._service.serving.abort()

    def _alone(self) -> None:
        """Handle the closed link: this worker has closed it at the end, or the supervisor was killed."""
        self._calls.stop()
        if self._closed is not None:
            self._closed.callback(None)
        else:
            self._drain()

    def _end(self) -> Deferred[Any]:
        """Drain; then send the last counts and log lines, and close."""
        assert self._service is not None
        self._ending = True
        ended = self._service.stopService()
        ended.addBoth(lambda _: self._live.finish())
        return ended.addBoth(lambda _: self._counts.finish()).addBoth(lambda _: self._close())

    def _close(self) -> Deferred[None] | None:
        if self.link.is_lost or self.link.transport is None:
            return None
        self._closed = Deferred()
        self.link.transport.unregisterProducer()  # closing waits for producers
        if self._sender is not None:
            self._sender.finish()
        self.link.transport.loseConnection()
        return self._closed


def _no_reload() -> Settings:
    raise SettingsError("the supervisor loads the configuration")
