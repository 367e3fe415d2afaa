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
from .core.exchange import Exchange
from .limits.store import BucketStore
from .listening import StartError, announce, listen
from .logs import logger, set_level
from .observe.factories import build_observers
from .observe.interfaces import Observer, ObserverContext
from .observe.publisher import ExchangePublisher
from .observe.spec import ObserverSpec
from .settings import Settings, SettingsError, client_keys
from .socket_group import SocketGroup
from .status import Status
from .stores import Stores
from .web.proxy import NoAPI, ProxyResource
from .web.site import ProxySite, Root

log = logger("openai_proxy")

ABORT_AFTER_DRAIN_S = 2.0


def one_line(kind: Any, value: Any, traceback: Any) -> None:
    """Tell a StartError as one line, anything else as Python does."""
    if isinstance(value, StartError):
        sys.stderr.write(f"openai-proxy: {value}\n")
    else:
        sys.__excepthook__(kind, value, traceback)


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


def make_service(reactor: Any, settings: Settings, reload: Callable[[], Settings]) -> ProxyService:
    """Build the whole daemon; raises SettingsError. Opens nothing: twistd forks later."""
    return ProxyService(reactor, settings, reload)


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
        self._draining = False
        self._terminating = False
        self._stopped: Deferred[None] | None = None
        set_level(settings.log_level)
        self._sockets = SocketGroup(reactor)
        self._around = Surroundings(reactor, self._clock, self._make_stores(), self._sockets.adopt)
        self.publisher = self._build_publisher(settings)
        self.exchanger = build_exchanger(settings, self._around, self.publisher.needs_usage)
        self.api = ProxyResource(self.exchanger.forward, settings.limits.in_flight, lambda: self._draining)
        self._status = Status(
            exchanger=lambda: self.exchanger,
            publisher=lambda: self.publisher,
            stores=self._around.stores,
            draining=lambda: self._draining,
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
        self._watch(self.publisher)

    def _make_stores(self) -> Stores:
        return Stores(self._reactor, self._clock, self._part.buckets if self._part else None)

    def _build_publisher(self, settings: Settings, running: Sequence[Observer] = ()) -> ExchangePublisher:
        context = ObserverContext(
            reactor=self._reactor,
            body_limit_bytes=settings.limits.exchange_log_body_bytes,
            in_flight=lambda: self.api.in_flight,
            open_connections={
                "downstream": lambda: len(self.site.channels),
                "upstream": lambda: self.exchanger.agent.open_connections,
            },
            secrets=_upstream_keys(settings),
            store_failures=self._around.stores.failures,
            upstreams=lambda: _upstream_urls(self.exchanger.settings),
            otlp_headers=settings.otel.headers.get_secret_value() if settings.otel.headers else "",
            spool_directory=str(settings.directory / settings.storage.spool_dir),
            spool_bytes=settings.storage.spool_bytes,
            azure=_azure_options(settings),
            on_command_line=settings.origin("observers") == "--observer",
        )
        try:
            observers = build_observers(
                [*settings.observers, *_storage_specs(settings)], context, running=running
            )
        except ValueError as error:
            raise settings.error("observers", str(error)) from error
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
        settings = self.exchanger.settings
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
        self._drain_timeout_s = settings.drain_timeout_s
        self._reactor.callWhenRunning(_settle_garbage_collector)
        super().startService()

    # ---- reload

    def reload(self) -> None:
        """Load the configuration again; a broken one is reported and the old one stays."""
        try:
            settings = self._load()
            prepared = self.prepare(settings)
        except SettingsError as error:
            log.error("reload refused, the old configuration stays: {error}", error=str(error))
            return
        except OSError as error:
            log.error("reload refused, an observer can not start: {error}", error=str(error))
            return
        if settings.ports != self.exchanger.settings.ports:
            log.warn("reload: ports can not change while running; the old ones stay")
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
        if _watching(settings) == _watching(self.exchanger.settings):
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
        self._drain_timeout_s = settings.drain_timeout_s
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
        self._drain_timeout_s = 0.0
        self._check_drained()

    def stopService(self) -> Deferred[Any]:
        """Drain: take nothing new, finish what runs within `drain_timeout_s`, abort the rest."""
        self._draining = True
        self._drain_started = self._clock()
        stopped = self._stopped = Deferred()
        closing = DeferredList(
            [maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True
        )
        self.site.drain()
        running = sum(1 for channel in self.site.channels if channel.busy)
        if running:
            log.info("draining: {running} requests still run", running=running)
        self._check_drained()
        done: Deferred[Any] = DeferredList([closing, stopped])
        done.addCallback(lambda _: self._close())
        done.addCallback(lambda _: MultiService.stopService(self))
        return done

    def _check_drained(self) -> None:
        stopped = self._stopped
        if stopped is None or stopped.called:
            return
        waited = self._clock() - self._drain_started
        busy = any(channel.busy for channel in self.site.channels)
        if busy and waited < self._drain_timeout_s:
            self._reactor.callLater(0.05, self._check_drained)
            return
        if not busy and self.site.channels and waited < self._drain_timeout_s + ABORT_AFTER_DRAIN_S:
            self._reactor.callLater(0.05, self._check_drained)  # last bytes on their way
            return
        self.site.abort()
        self.exchanger.abort()
        # connectionLost comes in the next turns; records end there
        self._reactor.callLater(0.02, self._drained)

    def _drained(self) -> None:
        stopped = self._stopped
        if stopped is not None and not stopped.called:
            stopped.callback(None)

    def _close(self) -> Deferred[Any]:
        self.site.stop()
        if self._admin_site is not None:
            self._admin_site.abort()
            self._admin_site.stop()
        return DeferredList([self.publisher.stop(), self._around.stores.stop()], consumeErrors=True)


def _stop_observers(publisher: ExchangePublisher) -> None:
    publisher.stop().addErrback(lambda failure: log.failure("observers did not stop", failure))


def _upstream_keys(settings: Settings) -> tuple[str, ...]:
    """Return every upstream key, for the observers to blot out wherever one turns up."""
    keys = [settings.upstream.api_key, *(upstream.api_key for upstream in settings.upstreams)]
    keys += [key.upstream_key for key in client_keys(settings)]
    return tuple(key.get_secret_value() for key in keys if key is not None)


def _upstream_urls(settings: Settings) -> dict[str, str]:
    """Return the base URLs by the names that exchanges have for them."""
    named = {upstream.name: upstream.base_url for upstream in settings.upstreams}
    return named or {"default": settings.upstream.base_url}


def _watching(settings: Settings) -> tuple[object, ...]:
    """Return all that observers are built from: where none of it changes, they stay."""
    limit_bytes = settings.limits.exchange_log_body_bytes
    return settings.observers, settings.storage, settings.otel, limit_bytes, _upstream_keys(settings)


def _storage_specs(settings: Settings) -> list[ObserverSpec]:
    """Return the exchange-log observer that the short form STORAGE_TYPE means."""
    storage = settings.storage
    if storage.type == "local":
        return [ObserverSpec("exchange-log", (), {"dir": str(storage.local_log_dir)})]
    if storage.type == "azure":
        return [ObserverSpec("exchange-log", (), {"url": f"az://{storage.azure_container}"})]
    return []


def _azure_options(settings: Settings) -> dict[str, str]:
    """Return account and credentials as fsspec's storage options; no spec has to hold them."""
    storage = settings.storage
    options = {"account_name": storage.azure_account_name}
    for name, secret in (
        ("account_key", storage.azure_account_key),
        ("connection_string", storage.azure_connection_string),
    ):
        options[name] = secret.get_secret_value() if secret is not None else None
    return {name: value for name, value in options.items() if value}


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
