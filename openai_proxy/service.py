"""The daemon's life: listen, serve, reload, drain, stop.

Owns every long-lived object. What handles exchanges is built by
`composition` and swapped whole at a reload.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from . import __version__, signals
from .composition import Exchanger, Surroundings, build_exchanger
from .composition.observers import observers_of, upstream_urls, watch_alike
from .core.exchange import Exchange
from .draining import Drain
from .limits.store import BucketStore
from .listening import StartError, announce, listen, one_line
from .logs import logger, set_level
from .observe.interfaces import Observer, ObserverContext
from .observe.publisher import ExchangePublisher
from .settings import Settings, SettingsError
from .socket_group import SocketGroup
from .status import Status
from .stores import Stores
from .web.proxy import NoAPI, ProxyResource
from .web.site import ProxySite, Root

log = logger("openai_proxy")


@frozen(eq=False)
class Part:
    """What is different in a process that is one of several workers.

    Its signals, the log's first lines and reloads are the supervisor's too.
    """

    listen: Callable[[Any, str, Any], Any]
    """(reactor, endpoint string, factory) to port, on an inherited socket."""
    buckets: BucketStore
    """The embedded limits that all workers share."""
    metrics: Callable[[bytes], Deferred[tuple[str, bytes]]]
    """Content type and body of the metrics page of all workers, by `Accept`."""
    started_at: float
    """When the daemon started, in monotonic seconds."""


@frozen(eq=False)
class Prepared:
    """What a reload has built and not yet put to use."""

    exchanger: Exchanger
    publisher: ExchangePublisher


class ProxyService(MultiService):
    """The daemon as a Twisted service.

    States: built, listening (privilegedStartService), running
    (startService), draining (stopService called), stopped.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        reload: Callable[[], Settings],
        part: Part | None = None,
    ) -> None:
        super().__init__()
        self._part = part
        self._reactor = reactor
        self._load = reload
        self._clock = time.monotonic
        self._started_at = part.started_at if part else self._clock()
        self._ports: list[Any] = []
        self._terminating = False
        self._sockets = SocketGroup(reactor)
        self._around = Surroundings(reactor, self._clock, self._make_stores(), self._sockets.adopt)
        self._daemon = self._describe()
        self.publisher = self._build_publisher(settings)
        self.exchanger = build_exchanger(settings, self._around, self.publisher.needs_usage)
        self.api = ProxyResource(self.exchanger.forward, settings.limits.in_flight)
        self._status = Status(
            exchanger=lambda: self.exchanger,
            publisher=lambda: self.publisher,
            stores=self._around.stores,
            draining=lambda: self._drain.begun,
            uptime_s=lambda: self._clock() - self._started_at,
            whole_metrics=part.metrics if part else None,
        )
        root = Root(self.api)
        self._status.put_pages(root, metrics=settings.admin.port is None)
        self.site = ProxySite(
            root,
            reactor,
            self.exchanger.limits,
            self._publish,
            settings.upstream.via.encode("ascii"),
            self._clock,
            settings.limits.connections,
            self._sockets.adopt,
        )
        self._admin_site = self._make_admin_site()
        self._drain = Drain(reactor, self._clock, self.site, lambda: self.exchanger.abort())
        self._watch(self.publisher)

    def _make_stores(self) -> Stores:
        return Stores(self._reactor, self._clock, self._part.buckets if self._part else None)

    def _describe(self) -> ObserverContext:
        """Return what observers may ask this daemon."""
        return ObserverContext(
            reactor=self._reactor,
            in_flight=lambda: self.api.in_flight,
            open_connections={
                "downstream": lambda: len(self.site.channels),
                "upstream": lambda: self.exchanger.agent.open_connections,
            },
            store_failures=self._around.stores.failures,
            upstreams=lambda: upstream_urls(self.exchanger.settings),
        )

    def _build_publisher(self, settings: Settings, running: Sequence[Observer] = ()) -> ExchangePublisher:
        observers = observers_of(settings, self._daemon, running)
        return ExchangePublisher([*observers, self._around.stores.keeping.usage], self._reactor)

    def _make_admin_site(self) -> ProxySite | None:
        """Return the site of `admin.port`: pages alone, the API is not there."""
        settings = self.exchanger.settings
        if settings.admin.port is None:
            return None
        root = Root(NoAPI())
        self._status.put_pages(root, metrics=True, own_port=True)
        pseudonym = settings.upstream.via.encode("ascii")
        limits = settings.limits
        return ProxySite(
            root, self._reactor, self.site.limits, self._publish, pseudonym, self._clock, limits.connections
        )

    def _watch(self, publisher: ExchangePublisher) -> None:
        """Let the site give `publisher` what its observers need."""
        self.site.hold_end = _is_synchronous(publisher)
        self.site.capture = publisher.capture if publisher.capture_limit_bytes is not None else None

    def _publish(self, exchange: Exchange) -> None:
        pricing = self.exchanger.spending.pricing
        if pricing is not None:
            pricing.settle(exchange)
        self.publisher.ending(exchange)

    # ---- start

    def privilegedStartService(self) -> None:
        """Listen, while twistd still has the right to low ports."""
        sys.excepthook = one_line
        settings = self.exchanger.settings
        set_level(settings.log_level)
        if self._part is None:
            self.announce()
            self._reactor.callWhenRunning(
                signals.install,
                self._reactor,
                terminate=self.terminate,
                reload=self.reload,
                reopen=lambda: self.publisher.reopen(),
            )
        for description in settings.ports:
            self._listen(description, self.site)
        if self._admin_site is not None and settings.admin.port is not None:
            self._listen(settings.admin.port, self._admin_site)
        super().privilegedStartService()

    def announce(self) -> None:
        """Log what this daemon is."""
        log.info(
            "openai-proxy {version}, mode {mode}, upstream {upstream}",
            version=__version__,
            mode=self.exchanger.mode,
            upstream=self.exchanger.reachability.url,
        )

    def _listen(self, description: str, site: ProxySite) -> None:
        if self._part is not None:
            self._ports.append(self._part.listen(self._reactor, description, site))
            return
        port = listen(self._reactor, description, site)
        self._ports.append(port)
        # told once signals are ours: who reads the line may send one at once
        spends_key = self.exchanger.mode == "inject" and site is self.site
        self._reactor.callWhenRunning(announce, port, spends_key)

    def startService(self) -> None:
        """Open what the fork would have broken, and serve."""
        try:
            self.publisher.start()
        except OSError as error:
            raise StartError(f"an observer can not start: {error}") from error
        try:
            self._around.stores.start()
        except OSError as error:
            raise StartError(f"cost.state_file: {error}") from error
        self._around.stores.keeping.usage.keep_in(self.exchanger.spending.state_file)
        self.exchanger.start()
        self._reactor.callWhenRunning(_settle_garbage_collector)
        super().startService()

    # ---- reload

    def reload(self) -> None:
        """Load the configuration again; a broken one is reported and the old one stays."""
        if self._drain.begun:
            return
        try:
            prepared = self.prepare(kept(self.exchanger.settings, self._load()))
        except SettingsError as error:
            log.error("reload refused, the old configuration stays: {error}", error=str(error))
            return
        except OSError as error:
            log.error("reload refused, an observer can not start: {error}", error=str(error))
            return
        self.commit(prepared)
        log.info("configuration reloaded, mode {mode}", mode=self.exchanger.mode)

    def prepare(self, settings: Settings) -> Prepared:
        """Build everything for new settings; nothing changes yet. Raises SettingsError and OSError."""
        publisher = self._reloaded_publisher(settings)
        exchanger = build_exchanger(settings, self._around, publisher.needs_usage)
        if publisher is not self.publisher:
            publisher.start()
        return Prepared(exchanger, publisher)

    def commit(self, prepared: Prepared) -> None:
        """Use what was prepared for new exchanges, and stop what it replaces."""
        if self._drain.begun:  # nobody would stop what this starts
            self.discard(prepared)
            return
        old, old_publisher = self.exchanger, self.publisher
        prepared.exchanger.start()
        self._swap(prepared.exchanger, prepared.publisher)
        old.stop()
        if prepared.publisher is not old_publisher:
            _stop_observers(old_publisher)

    def discard(self, prepared: Prepared) -> None:
        """Drop what was prepared; everything stays as it is."""
        if prepared.publisher is not self.publisher:
            _stop_observers(prepared.publisher)

    def _reloaded_publisher(self, settings: Settings) -> ExchangePublisher:
        """Return the running publisher where nothing about it changed, else a new one, not started."""
        if watch_alike(settings, self.exchanger.settings):
            return self.publisher
        return self._build_publisher(settings, self.publisher.observers)

    def _swap(self, exchanger: Exchanger, publisher: ExchangePublisher) -> None:
        settings = exchanger.settings
        self.exchanger = exchanger
        self._around.stores.keeping.usage.keep_in(exchanger.spending.state_file)
        self.publisher = publisher
        self.api.forward = exchanger.forward
        self.api.in_flight_limit = settings.limits.in_flight
        self.site.limits = exchanger.limits
        self.site.max_connections = settings.limits.connections
        self._watch(publisher)
        set_level(settings.log_level)

    # ---- stop

    def terminate(self) -> None:
        """SIGTERM or SIGINT: drain; the second one aborts."""
        if self._terminating:
            log.info("second signal: aborting what still runs")
            self.abort()
        else:
            self._terminating = True  # here, for the reactor begins to stop a turn later
            self._reactor.stop()

    def abort(self) -> None:
        """Wait no longer for what still runs; `terminate` was called."""
        self._drain.hurry()

    def stopService(self) -> Deferred[Any]:
        """Drain: take nothing new, finish what runs within `drain_timeout_s`, abort the rest."""
        closing = DeferredList(
            [maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True
        )
        drained = self._drain.begin(self.exchanger.settings.drain_timeout_s)
        done: Deferred[Any] = DeferredList([closing, drained])
        done.addCallback(lambda _: self._close())
        done.addCallback(lambda _: MultiService.stopService(self))
        return done

    def _close(self) -> Deferred[Any]:
        self.site.stop()
        if self._admin_site is not None:
            self._admin_site.abort()
            self._admin_site.stop()
        return DeferredList([self.publisher.stop(), self._around.stores.stop()], consumeErrors=True)


def kept(old: Settings, new: Settings) -> Settings:
    """Return the new settings with what can not change while the daemon runs as it was; tell what that is."""
    if (new.ports, new.admin.port) != (old.ports, old.admin.port):
        log.warn("reload: ports can not change while running; the old ones stay")
    if new.workers != old.workers:
        log.warn("reload: the number of workers can not change while running; the old one stays")
    admin = new.admin.model_copy(update={"port": old.admin.port})
    return new.model_copy(update={"ports": old.ports, "admin": admin, "workers": old.workers})


def _stop_observers(publisher: ExchangePublisher) -> None:
    publisher.stop().addErrback(lambda failure: log.failure("observers did not stop", failure))


def _settle_garbage_collector() -> None:
    """Leave what was built at start out of every collection, and collect less often.

    Exchanges make no reference cycles that live long: with the stock
    threshold of 700 objects a collection came every few exchanges and took
    7 % of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(25_000, 20, 20)


def _is_synchronous(publisher: ExchangePublisher) -> bool:
    return any(getattr(observer, "synchronous", False) for observer in publisher.observers)
