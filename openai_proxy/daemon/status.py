"""The pages about this daemon: information, health, metrics.

Makes the documents; `pages.pages` renders them, `Serving` has the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from .. import __version__
from ..cost.budget import day_name
from ..downstream.site import Root
from ..exchange.errors import UnknownURL
from ..observe.live.view import LiveView
from ..observe.metrics.prometheus import PrometheusObserver, find_metrics
from ..observe.metrics.scrapes import Scrapes
from ..observe.publisher import ExchangePublisher
from ..pages.admin import AdminPage, AdminPages, Answer, Arguments, Gate, PagesGate
from ..pages.dashboard.page import DashboardPage
from ..pages.home import HomePage, StylePage
from ..pages.keys import KeyPages
from ..pages.live import ExchangesPage, LivePage
from ..pages.owner import OwnerPage
from ..pages.pages import HealthPage, JSONPage, MetricsPage
from ..pages.usage import UsageReport
from ..settings import Settings, describe
from ..settings.derived import redis_url
from .exchanger import Exchanger
from .key_store.admin import Change, KeyAdmin
from .key_store.loaded_keys import LoadedKeys
from .key_store.owner import KeyReport
from .key_store.slices import Pause
from .key_store.spent import SpentByKey
from .stores import Stores

Health = tuple[bool, dict[str, Any]]


@frozen(eq=False)
class Status:
    """The pages of one daemon. Parts that a reload replaces are fetched for each request."""

    exchanger: Callable[[], Exchanger]
    publisher: Callable[[], ExchangePublisher]
    stores: Stores
    draining: Callable[[], bool]
    uptime_s: Callable[[], float]
    scrapes: Scrapes
    pause: Pause
    """Lets other work run between two parts of a long task."""
    live: Callable[[], LiveView | None]
    """The live view; None if it is turned off."""
    loaded_keys: LoadedKeys | None = None
    """The loaded keys of the key store; None without one."""
    cut: Callable[[str], object] = lambda name: None
    """Aborts the running exchanges of a client key."""
    combined_metrics: Callable[[bytes], Deferred[tuple[str, bytes]]] | None = None
    """The metrics page of all workers; None in a single process."""
    combined_counts: Callable[[], Deferred[Mapping[str, int]]] | None = None
    """The requests in flight at each upstream, of all workers; None in a single process."""

    def put_pages(self, root: Root, *, metrics: bool, own_port: bool = False) -> None:
        """Add information and health to this root, and /metrics and /admin if they belong there.

        `own_port`: it is the root of `admin.port`.
        """
        gate = Gate(self._admin_token, unix_is_local=own_port)
        pages = PagesGate(self._page_rule if not own_port else lambda: "open", gate)
        health = HealthPage(self.health, pages.allows)
        health.putChild(b"live", JSONPage(lambda: (200, {"status": "alive"})))
        health.putChild(b"ready", HealthPage(self.ready))
        public = ("service", "api", "health")
        root.putChild(
            b"", HomePage(self.information, pages.allows, public, self.health, partial(self._linked, metrics))
        )
        root.putChild(b"style.css", StylePage())
        if not own_port:  # holders of keys use the API's port
            root.putChild(b"key", OwnerPage(self._key_report(), lambda: self.exchanger().keyring is not None))
        root.putChild(b"health", health)
        if metrics:
            root.putChild(b"metrics", MetricsPage(self.metrics, pages.check))
            report = UsageReport(
                self.stores.costs.usage, lambda: self.exchanger().spending, tags=self.stores.costs.tag_usage
            )
            admin = AdminPages()
            admin.putChild(b"usage", AdminPage(gate, partial(self._usage, report)))
            admin.putChild(b"keys", self._key_pages(gate).root())
            admin.putChild(b"exchanges", ExchangesPage(gate, self.live))
            admin.putChild(b"live", LivePage(gate, self.live))
            admin.putChild(b"config", AdminPage(gate, self._configuration))
            root.putChild(b"dashboard", DashboardPage(gate, self.live))
            root.putChild(b"admin", admin)

    def _key_pages(self, gate: Gate) -> KeyPages:
        spent = SpentByKey(self.stores.costs.usage, lambda: self.exchanger().spending, self.pause)
        keys = KeyAdmin(self.loaded_keys, self._settings, spent.of, self._changed, self.pause)
        return KeyPages(gate, keys, self.cut)

    def _key_report(self) -> KeyReport:
        return KeyReport(
            self._settings,
            lambda: self.exchanger().keyring,
            lambda: self.exchanger().spending,
            self.stores.costs.usage,
            lambda: self.stores.limit_store(redis_url(self._settings())),
            self.stores.limit_store(None),
            knows_all=lambda: self.loaded_keys is None or self.loaded_keys.is_complete,
        )

    def _settings(self) -> Settings:
        return self.exchanger().settings

    def _changed(self, change: Change) -> None:
        """Write a change next to the exchange log, if there is one."""
        line = orjson.dumps(change.document()) + b"\n"
        name = f"admin_{day_name(change.timestamp).replace('-', '')}.jsonl"
        for observer in self.publisher().observers:
            append = getattr(observer, "append", None)
            if append is not None:
                append(name, line)

    def _configuration(self, arguments: Arguments) -> Deferred[Answer]:
        """Return the configuration in force as text, secrets masked."""
        exchanger = self.exchanger()
        document = {"text": describe(exchanger.settings, exchanger.warnings)}
        return succeed(("application/json", orjson.dumps(document) + b"\n"))

    def _usage(self, report: UsageReport, arguments: Arguments) -> Deferred[Answer]:
        self.publisher().flush()
        return report.answer(arguments)

    def _linked(self, metrics: bool) -> list[str]:
        """Return the names of the pages that the page at `/` links to."""
        counted = metrics and find_metrics(self.publisher().observers) is not None
        seen = metrics and self.live() is not None
        return [
            "health",
            *(["metrics"] if counted else []),
            *(["usage"] if metrics else []),
            *(["dashboard"] if seen else []),
        ]

    def _admin_token(self) -> bytes | None:
        token = self.exchanger().settings.admin.token
        return None if token is None else token.get_secret_value().encode("latin-1")

    def _page_rule(self) -> str:
        return self.exchanger().settings.access.pages

    def information(self) -> tuple[int, dict[str, Any]]:
        """Return status and document of `GET /`."""
        return 200, {
            "service": "openai-proxy",
            "version": __version__,
            "api": "/v1",
            "health": "/health",
            "mode": self.exchanger().mode,
        }

    def metrics(self, accept: bytes) -> tuple[str, bytes] | Deferred[tuple[str, bytes]]:
        """Return content type and body of the metrics page, by `Accept`; raise UnknownURL if nothing counts."""
        if self.combined_metrics is not None:
            return self.combined_metrics(accept)
        found = find_metrics(self.publisher().observers)
        if found is None:
            raise UnknownURL
        return self.scrapes.page(accept, partial(self._render, found))

    def _render(self, found: PrometheusObserver, accept: bytes) -> tuple[str, bytes]:
        self.publisher().flush()
        return found.render(accept)

    def health(self) -> Deferred[Health]:
        """Fire with whether an upstream can be reached (probed at most every 10 s), and the document of `GET /health`."""
        reachability = self.exchanger().reachability

        def describe(reachable: bool) -> Deferred[Health]:
            route = self.exchanger().route
            if route is None or self.combined_counts is None:
                return succeed(document(reachable, {}))
            return self.combined_counts().addCallback(lambda counts: document(reachable, counts))

        def document(reachable: bool, counts: Mapping[str, int]) -> Health:
            exchanger = self.exchanger()
            connected = self.stores.redis_connected(exchanger.redis_url)
            route = exchanger.route
            return reachable, {
                "status": "healthy" if reachable else "unhealthy",
                "upstream": {
                    "url": reachability.url,
                    "reachable": reachable,
                    **({} if (recorded := exchanger.serverless.recorded) is None else {"recorded": recorded}),
                    "checked_s_ago": round(reachability.checked_s_ago, 3),
                    **({} if reachability.reason is None else {"reason": reachability.reason}),
                },
                **({} if connected is None else {"redis_connected": connected}),
                **({} if route is None else {"upstreams": route.describe(counts)}),
                **({} if route is None or route.state_count is None else {"known_state": route.state_count}),
                "version": __version__,
                "uptime_s": round(self.uptime_s(), 3),
            }

        return reachability.ask().addCallback(describe)

    def ready(self) -> Deferred[Health]:
        """Fire with whether new requests are accepted, and the document of `GET /health/ready`."""

        def describe(reachable: bool) -> Health:
            ready = reachable and not self.draining()
            status = "draining" if self.draining() else "ready" if reachable else "upstream unreachable"
            return ready, {"status": status}

        return self.exchanger().reachability.ask().addCallback(describe)
