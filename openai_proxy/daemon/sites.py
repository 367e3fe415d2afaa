"""The sites of one process: the one of the API, and the one of `admin.port`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..downstream.proxy import NoAPI, ProxyResource
from ..downstream.site import ProxySite, Root
from ..exchange.client_address import TrustedProxies
from ..exchange.errors import CancelledByOperator
from ..exchange.messages import Forward
from ..observe.publisher import ExchangePublisher
from ..settings import Settings
from .connection_limits import ConnectionLimits
from .exchanger import Exchanger
from .status import Status


class Sites:
    """The pages and the API under the sites that clients connect to. Owned by `Serving`.

    `main` serves the API and, without `admin.port`, all pages; `admin` is
    None without `admin.port`. What a reload replaces is handed to `use` and
    `watch`; new exchanges see the new parts.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float],
        status: Status,
        exchanger: Exchanger,
        publisher: ExchangePublisher,
        adopt: Callable[[Any], None],
        worker: int,
    ) -> None:
        settings = exchanger.settings
        self._reactor = reactor
        self._clock = clock
        self._exchanger = exchanger
        self._publisher = publisher
        self.api = ProxyResource(exchanger.forward, settings.limits.in_flight, exchanger.preflight)
        root = Root(self.api)
        status.put_pages(root, metrics=settings.admin.port is None)
        self.main = self._make_site(root, exchanger)
        self.main.worker = worker
        self.main.adopt = adopt
        self.admin: ProxySite | None = None
        if settings.admin.port is not None:
            admin_root = Root(NoAPI())
            status.put_pages(admin_root, metrics=True, own_port=True)
            self.admin = self._make_site(admin_root, exchanger)
        self.connections = ConnectionLimits(reactor, self.main, self.admin)
        for site in self._all:
            _set_up(site, settings)
        self.watch(publisher)

    def _make_site(self, root: Root, exchanger: Exchanger) -> ProxySite:
        settings = exchanger.settings
        site = ProxySite(
            root,
            self._reactor,
            exchanger.limits,
            settings.upstream.via.encode("ascii"),
            self._clock,
            settings.limits.connections,
        )
        site.web_origins = exchanger.web_origins
        site.turns = exchanger.turns
        return site

    @property
    def _all(self) -> list[ProxySite]:
        return [site for site in (self.main, self.admin) if site is not None]

    def use_stages(self, exchanger: Exchanger) -> None:
        """Send new requests and turns through the stages of `exchanger`."""
        self._exchanger = exchanger
        self.api.forward = exchanger.forward
        for site in self._all:
            site.turns = exchanger.turns
        self._follow()

    def use(self, exchanger: Exchanger) -> None:
        """Serve new exchanges by another configuration."""
        settings = exchanger.settings
        self.use_stages(exchanger)
        self.api.preflight = exchanger.preflight
        self.api.in_flight_limit = settings.limits.in_flight
        for site in self._all:
            site.limits = exchanger.limits
            site.web_origins = exchanger.web_origins
            site.pseudonym = settings.upstream.via.encode("ascii")
            _set_up(site, settings)
        self.connections.apply(settings, exchanger.agent)

    def _follow(self) -> None:
        """Let exchanges that end be charged, and shown to the observers."""
        pricing = self._exchanger.spending.pricing
        charge = () if pricing is None else (pricing.settle,)
        for site in self._all:
            site.at_end = (*charge, self._exchanger.refused_keys.note, self._publisher.ending)

    def watch(self, publisher: ExchangePublisher) -> None:
        """Show exchanges to the observers of `publisher`, and make the API's site provide what they need."""
        self._publisher = publisher
        self._follow()
        self.main.hold_end = publisher.is_synchronous
        self.main.refusal = publisher.refusal if publisher.may_refuse else None
        self.main.capture = publisher.capture if publisher.capture_limit_bytes is not None else None

    def hold_requests(self, until_ready: Forward) -> None:
        """Send new requests through `until_ready`, until `use_stages` or `use` is called."""
        self.api.forward = until_ready

    def cut(self, name: str) -> None:
        """Stop the running exchanges of a client key, as an operator's cancel does."""
        for channel in list(self.main.channels):
            channel.cancel_for(name, CancelledByOperator())

    def stop(self) -> None:
        """Stop the clocks of the sites; connections to `admin.port` are cut."""
        self.main.stop()
        if self.admin is not None:
            self.admin.abort()
            self.admin.stop()


def _set_up(site: ProxySite, settings: Settings) -> None:
    site.proxies = TrustedProxies.of(settings.access.proxies)
    site.websocket_idle_s = settings.websocket.idle_s
