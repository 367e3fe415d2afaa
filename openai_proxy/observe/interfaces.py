"""What an observer of exchanges is, and how one is made.

The public interface for third parties: a package that puts an object
providing `IObserverFactory` into `twisted.plugins` adds an observer.
Imported by every observer; imports only the spec parser and the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent
from twisted.plugin import IPlugin
from zope.interface import Attribute

from .metrics.budgets import BudgetReading
from .metrics.circuits import UpstreamReport
from .metrics.daemon_state import DaemonState
from .spec import ObserverSpec


class Observer(Protocol):
    """A callable as `twisted.logger.ILogObserver`: one call for each exchange.

    `event["exchange"]` is the ended `exchange.record.Exchange`: read it, never
    change it, and keep no reference to it after the call and `flush`.

    Optional attributes, looked up once at start:

    - `start()`: open files and sockets. Called when the daemon has forked
      and dropped its privileges; OSError stops the start.
    - `stop()`: write what is left, close. May return a Deferred; after 10 s
      the daemon ends without it.
    - `flush()`: a batch of events ends here; write what was collected. The
      observers after this one may not have the last event of the batch yet.
    - `reopen()`: SIGUSR1, the log files were moved away.
    - `synchronous` (default False): called, and flushed, before the client
      sees the end of its response. Everybody pays for what it does. Without
      it, batches come in a later turn of the reactor.
    - `needs_bodies` (default False): `exchange.capture` keeps the bodies.
    - `body_limit_bytes`: how much of each body, if `needs_bodies`.
    - `refusal()`: why no request may begin now, for its client, or None. Asked
      before each request: answer at once.
    - `needs_usage` (default False): streams are asked to report their usage.
    """

    def __call__(self, event: LogEvent) -> None: ...


def _zero() -> int:
    return 0


def _nowhere() -> Mapping[str, str]:
    return {}


def _no_models() -> frozenset[str]:
    return frozenset()


def _no_stores() -> Mapping[tuple[str, str], int]:
    return {}


def _no_report() -> UpstreamReport:
    return UpstreamReport({})


@frozen
class ObserverContext:
    """What the daemon offers to observers while they are built."""

    reactor: IReactorTime
    """For delayed calls; not running yet when an observer is built."""
    body_limit_bytes: int = 1024 * 1024
    """The setting `limits.exchange_log_body_bytes`."""
    in_flight: Callable[[], int] = _zero
    """Exchanges running now."""
    open_connections: Mapping[str, Callable[[], int]] = field(factory=dict)
    """Side (`downstream`, `upstream`) to the number of open connections."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Keys that must never be written: blotted out wherever they turn up."""
    store_failures: Callable[[], Mapping[tuple[str, str], int]] = _no_stores
    """How often stores in Redis failed, by (`cache` or `limit`, kind)."""
    upstreams: Callable[[], Mapping[str, str]] = _nowhere
    """The base URL of each upstream by its name, as configured now."""
    configured_models: Callable[[], Collection[str]] = _no_models
    """The models that the configuration names now: they always have their own label."""
    upstream_report: Callable[[], UpstreamReport] = _no_report
    """How the upstreams and their circuits are."""
    budgets: Callable[[], Iterable[BudgetReading]] = tuple
    """How the budget of each key stands."""
    state: Callable[[], DaemonState] = DaemonState
    """What the daemon knows of itself now."""
    key_labels: bool = False
    """The setting `metrics.keys`: whether metrics have a label for each client key."""
    otlp_headers: str = field(default="", repr=False)
    """The setting `otel.headers`: `name=value,name=value` for the OTLP collector, a secret."""
    spool_directory: str = "exchange-log-spool"
    """The setting `storage.spool_dir`: where lines for remote stores wait."""
    spool_bytes: int = 1024 * 1024 * 1024
    """The setting `storage.spool_bytes`."""
    azure: Mapping[str, str] = field(factory=dict, repr=False)
    """The settings `storage.azure_...` by the names of fsspec's storage options; two of them are secrets."""
    client_address: bool = True
    """The setting `log.client_address`: whether lines name the client's address."""
    on_command_line: bool = False
    """Whether the specs were written there, for everybody to see."""


@frozen
class ObserverOptions:
    """One `--observer` as the user wrote it, and the daemon around it."""

    spec: ObserverSpec
    context: ObserverContext

    def parameters(self, *known: str) -> dict[str, str]:
        """Return the `key=value` parameters; ValueError for one not in `known`."""
        for key in self.spec.kwargs:
            if key not in known:
                allowed = f"known are {', '.join(known)}" if known else "it takes none"
                raise ValueError(f"unknown parameter {key!r}: {allowed}")
        return dict(self.spec.kwargs)

    def no_positional(self) -> None:
        """Raise ValueError if the spec has a value without `key=`."""
        if self.spec.args:
            raise ValueError("every parameter is written key=value")


class IObserverFactory(IPlugin):
    """Makes observers of one kind; found with `twisted.plugin.getPlugins`."""

    name: str = Attribute("The word before the first colon of an `--observer` spec.")
    help: str = Attribute("One line for `--help`: the parameters and what it does.")

    def build(options: ObserverOptions) -> Observer:  # zope: no self
        """Return an observer; it opens nothing yet, for the daemon forks after this.

        Raise ValueError, in one line without any secret, for bad parameters
        and for places that cannot be written.
        """
