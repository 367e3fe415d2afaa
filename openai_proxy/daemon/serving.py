"""Everything that serves under one configuration, and its replacement at a reload.

Knows no ports, signals or processes: `service`, which owns this, has those.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from ..cost.build import Spending
from ..exchange.messages import ProxyRequest, ProxyResponse
from ..logs import logger, set_level
from ..net.listening import StartError
from ..net.socket_group import SocketGroup
from ..observe.interfaces import Observer, ObserverContext
from ..observe.metrics.scrapes import Scrapes
from ..observe.publisher import ExchangePublisher
from ..policies.cache.other_calls import LocalCalls
from ..settings import Settings
from .cassettes import Cassettes
from .connection_limits import log_capacity
from .draining import Drain
from .exchanger import Exchanger, build_exchanger, with_other_keys
from .key_store.opened import StoredKeys
from .live import Live
from .loaded import LoadedConfiguration
from .observers import observers_of, upstream_urls, watch_alike
from .process_parts import ProcessParts
from .sites import Sites
from .status import Status
from .stores import Stores
from .upstream_report import upstream_report, upstreams_shown
from .worker_parts import WorkerParts

log = logger("openai_proxy")


@frozen(eq=False)
class Prepared:
    """What a reload has built and does not use yet."""

    exchanger: Exchanger
    publisher: ExchangePublisher


class Serving:
    """Serves the clients of one process: sites, pages, stages, observers, stores.

    States: built, serving (`start`), draining (`drain`), closed (`close`).
    `exchanger` and `publisher` are those in use; `commit` replaces them, for
    new exchanges only.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        worker: WorkerParts | None,
        watching: Sequence[Observer] = (),
        cassettes: Cassettes | None = None,
    ) -> None:
        """Build everything for `settings` without opening anything; `watching` are further observers. Raises
        SettingsError.

        `cassettes` may have been read for these settings already.
        """
        self._watching = tuple(watching)
        self._reactor = reactor
        self._alone = worker is None
        self._clock = time.monotonic
        self._started_at = worker.started_at if worker else self._clock()
        self._loaded = LoadedConfiguration(settings)
        self._sockets = SocketGroup(reactor)
        stores = Stores(
            reactor,
            self._clock,
            worker.buckets if worker else None,
            worker.memory if worker else None,
            worker.state if worker else None,
        )
        self.cassettes = cassettes or Cassettes(reactor)
        self._others = None if worker is None else worker.keys_changed
        self._keys = StoredKeys(reactor, settings, self._keys_changed, self._others)
        self._parts = ProcessParts(
            reactor,
            self._clock,
            stores,
            self._sockets.adopt,
            calls=worker.calls if worker else LocalCalls(),
            share_health=worker.share_health if worker else lambda health: None,
            cassettes=self.cassettes,
            knows_all_keys=self._keys.knows_all,
        )
        self._daemon = self._describe()
        stores.costs.usage.configured_models = self._daemon.configured_models
        self.live = Live(
            reactor,
            lambda: self._sites.api.running,
            lambda: self.publisher,
            stores.costs.usage,
            lambda: upstreams_shown(self.exchanger, self._parts.circuits),
            worker.live if worker else None,
        )
        self.live.configure(settings)
        self.publisher = self._build_publisher(settings)
        self.exchanger = build_exchanger(settings, self._parts, self.publisher.needs_usage)
        self._sites = Sites(
            reactor,
            self._clock,
            self._make_status(worker),
            self.exchanger,
            self.publisher,
            self._sockets.adopt,
            worker.number if worker else 0,
        )
        self.site, self.admin_site = self._sites.main, self._sites.admin
        self.connections = self._sites.connections
        self._drain = Drain(
            reactor,
            self._clock,
            self.site,
            lambda: self.exchanger.abort(),
            lambda: self._parts.calls.readers,
        )

    def _describe(self) -> ObserverContext:
        """Return the facts about this daemon that observers may query."""
        return ObserverContext(
            reactor=self._reactor,
            in_flight=lambda: self._sites.api.in_flight,
            open_connections={
                "downstream": lambda: len(self.site.channels),
                "upstream": lambda: self.exchanger.agent.open_connections,
                "websocket": lambda: self.site.websockets,
            },
            store_failures=self._parts.stores.failures,
            upstreams=lambda: upstream_urls(self.exchanger.settings),
            configured_models=lambda: self.exchanger.configured_models,
            upstream_report=lambda: upstream_report(self.exchanger, self._parts.circuits),
            budgets=lambda: self.exchanger.spending.balances(),
            state=lambda: self._loaded.state(
                self.publisher.observers, self._parts.stores.redis_connected(self.exchanger.redis_url)
            ),
        )

    def note_reload(self, *, worked: bool) -> None:
        """Note that a reload has ended: the new configuration is in use, or was refused."""
        self._loaded.note(self.exchanger.settings, worked=worked)

    def _build_publisher(self, settings: Settings, running: Sequence[Observer] = ()) -> ExchangePublisher:
        observers = observers_of(settings, self._daemon, running)
        costs = self._parts.stores.costs
        uses = [] if self._keys.loaded is None else [self._keys.note_use]
        return ExchangePublisher(
            [
                *observers,
                costs.usage,
                costs.tag_usage,
                *uses,
                *self._watching,
                # last: it releases parts of the record that the others need
                *self.live.observers(settings),
            ],
            self._reactor,
            before_sending=self._sockets.before_sending,
        )

    def _make_status(self, worker: WorkerParts | None) -> Status:
        return Status(
            exchanger=lambda: self.exchanger,
            publisher=lambda: self.publisher,
            stores=self._parts.stores,
            draining=lambda: self._drain.begun,
            uptime_s=lambda: self._clock() - self._started_at,
            scrapes=Scrapes(self._clock),
            pause=lambda: deferLater(self._reactor, 0.0, lambda: None),
            loaded_keys=self._keys.loaded,
            cut=self._cut_in_all_workers,
            live=lambda: self.live.view,
            combined_metrics=worker.metrics if worker else None,
            combined_counts=worker.upstream_counts if worker else None,
        )

    def _log_capacity(self) -> None:
        """Log if fewer connections are served than configured; for several workers the supervisor does it."""
        if self._alone:
            settings = self.exchanger.settings
            log_capacity(self.connections.capacity(settings), settings.limits.connections)

    def _keep_books(self, spending: Spending) -> None:
        """Keep totals and watch budgets by this configuration from now on."""
        self._parts.stores.costs.usage.keep_in(spending.state_file)
        self._parts.stores.costs.tag_usage.keep_in(spending.state_file)
        if spending.watch is not None:
            spending.watch.begin()

    # ---- start

    def start(self) -> None:
        """Open what must be opened after the fork; raises StartError. Call once."""
        try:
            self.publisher.start()
        except OSError as error:
            raise StartError(f"an observer cannot start: {error}") from error
        try:
            self._parts.stores.start()
        except OSError as error:
            raise StartError(f"cost.state_file: {error}") from error
        try:
            self._keys.start()
        except OSError as error:
            raise StartError(f"key_store.url: {error}") from error
        self._keep_books(self.exchanger.spending)
        self.connections.note_start()
        self.connections.apply(self.exchanger.settings, self.exchanger.agent)
        self._log_capacity()
        self.exchanger.start()
        if self._keys.is_unread:
            self._sites.hold_requests(self._after_first_look)
        self.live.start()
        if self._alone:
            self._keys.log_if_empty(self.exchanger.settings)

    # ---- stored keys

    async def _after_first_look(self, request: ProxyRequest) -> ProxyResponse:
        """Let the first requests wait until the key store has been read, because no stored key is loaded before."""
        await self._keys.first_look()
        self._sites.use_stages(self.exchanger)
        return await self.exchanger.forward(request)

    def _keys_changed(self) -> None:
        """Use changed stored keys for new exchanges."""
        if self.draining:
            return
        settings = self._keys.laid_over(self.exchanger.settings)
        self.exchanger = with_other_keys(self.exchanger, settings, self._parts, self.publisher.needs_usage)
        self._keep_books(self.exchanger.spending)
        self._sites.use_stages(self.exchanger)

    def look_at_keys(self, name: str | None) -> Deferred[None]:
        """Read the key store now, then cut the running exchanges of the key `name`; fires when that is done."""

        def cut_then(result: Any) -> Any:
            if name is not None:
                self._sites.cut(name)
            return result

        return self._keys.look().addBoth(cut_then)

    def _cut_in_all_workers(self, name: str) -> None:
        self._sites.cut(name)
        if self._others is not None:
            # It fails if the supervisor is gone: then the other workers will end soon.
            self._others(name).addErrback(lambda _: None)

    # ---- reload

    def prepare(self, settings: Settings) -> Prepared:
        """Build everything for new settings; nothing is used yet. Raises SettingsError and OSError."""
        settings = self._keys.laid_over(settings)
        publisher = self._reloaded_publisher(settings)
        exchanger = build_exchanger(settings, self._parts, publisher.needs_usage)
        if publisher is not self.publisher:
            publisher.start()
        return Prepared(exchanger, publisher)

    def commit(self, prepared: Prepared) -> None:
        """Use the prepared parts for new exchanges, and stop those that they replace."""
        if self.draining:  # nothing would stop what this starts
            self.discard(prepared)
            return
        old, old_publisher = self.exchanger, self.publisher
        prepared.exchanger.start()
        self._swap(prepared.exchanger, prepared.publisher)
        old.stop()
        if self._keys.loaded is not None:  # the keys may have changed since
            self._keys_changed()
        if prepared.publisher is not old_publisher:
            _stop_observers(old_publisher)

    def discard(self, prepared: Prepared) -> None:
        """Drop the prepared parts; everything stays as it is."""
        if prepared.publisher is not self.publisher:
            _stop_observers(prepared.publisher)

    def _reloaded_publisher(self, settings: Settings) -> ExchangePublisher:
        """Return the running publisher if nothing about it changed, else a new one, not started."""
        if watch_alike(settings, self.exchanger.settings):
            return self.publisher
        return self._build_publisher(settings, self.publisher.observers)

    def _swap(self, exchanger: Exchanger, publisher: ExchangePublisher) -> None:
        settings = exchanger.settings
        connections = self.exchanger.settings.limits.connections
        self.exchanger = exchanger
        self._keep_books(exchanger.spending)
        self.publisher = publisher
        self.live.configure(settings)
        self._sites.use(exchanger)
        if settings.limits.connections != connections:
            self._log_capacity()
        self._sites.watch(publisher)
        set_level(settings.log_level)

    # ---- the end

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._drain.begun

    def drain(self) -> Deferred[None]:
        """Accept nothing new; fire when all has ended, or was aborted after `drain_timeout_s`. Call once."""
        self.live.stop()
        return self._drain.begin(self.exchanger.settings.drain_timeout_s)

    def abort(self) -> None:
        """Abort the running exchanges; may be called before `drain`."""
        self._drain.hurry()

    def close(self) -> Deferred[Any]:
        """Stop the parts that outlive exchanges; fires when observers and stores are closed, and never fails."""
        self._sites.stop()
        return DeferredList(
            [self.publisher.stop(), self._parts.stores.stop(), self._keys.stop()], consumeErrors=True
        )


def _stop_observers(publisher: ExchangePublisher) -> None:
    publisher.stop().addErrback(lambda failure: log.failure("observers did not stop", failure))
