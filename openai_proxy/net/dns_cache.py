"""A cache of resolved addresses, so that a new connection needs no look-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, frozen
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from ..exchange.bounded_memo import BoundedMemo

MOST_NAMES = 256


@frozen
class _Entry:
    addresses: tuple[Any, ...]
    until: float


class DNSCache:
    """Caches each name for `ttl_s` seconds; 0 caches none. `clock` gives monotonic seconds.

    The address of the last successful connection comes first from then on, so
    that an address that does not answer delays only one connection (RFC 8305
    §4). A name without any address that answers is resolved again.
    """

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: BoundedMemo[tuple[str, int], _Entry] = BoundedMemo(MOST_NAMES)

    def resolve(
        self,
        resolver: IHostnameResolver,
        receiver: IResolutionReceiver,
        host: str,
        port: int,
        *arguments: Any,
        **options: Any,
    ) -> IHostResolution:
        """Pass the addresses of a name to `receiver`, at once if they are cached; as IHostnameResolver."""
        addresses = self.addresses(host, port)
        if not addresses:
            asking = _Asking(receiver, lambda addresses: self._keep(host, port, addresses))
            return resolver.resolveHostName(asking, host, port, *arguments, **options)
        return tell_addresses(receiver, host, addresses)

    def addresses(self, host: str, port: int) -> tuple[Any, ...]:
        """Return the cached addresses of a name, the likeliest first; empty if it must be resolved."""
        entry = self._entries.get((host, port))
        return () if entry is None or self._clock() >= entry.until else entry.addresses

    def connected(self, host: str, port: int, address: str) -> None:
        """Note that a connection was made to this address of a name."""
        entry = self._entries.get((host, port))
        if entry is not None and entry.addresses[0].host != address:
            ordered = tuple(sorted(entry.addresses, key=lambda each: bool(each.host != address)))
            self._entries.remember((host, port), _Entry(ordered, entry.until), 0)

    def forget(self, host: str, port: int) -> None:
        """Forget a name, because none of its addresses worked."""
        self._entries.pop((host, port), None)

    def _keep(self, host: str, port: int, addresses: tuple[Any, ...]) -> None:
        if addresses and self._ttl_s > 0:
            self._entries.remember((host, port), _Entry(addresses, self._clock() + self._ttl_s), 0)


def tell_addresses(receiver: IResolutionReceiver, host: str, addresses: Iterable[Any]) -> IHostResolution:
    """Pass the addresses of a name to `receiver` at once; return the finished resolution."""
    finished = _Finished(host)
    receiver.resolutionBegan(finished)
    for address in addresses:
        receiver.addressResolved(address)
    receiver.resolutionComplete()
    return finished


@implementer(IHostResolution)
@define(eq=False)
class _Finished:
    """A resolution that is finished from the beginning."""

    name: str

    def cancel(self) -> None:
        """Do nothing: it is finished."""


@implementer(IResolutionReceiver)
class _Asking:
    """Passes on a resolver's results, and caches them once they are complete."""

    def __init__(self, receiver: IResolutionReceiver, keep: Callable[[tuple[Any, ...]], None]) -> None:
        self._receiver = receiver
        self._keep = keep
        self._addresses: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)
        self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._keep(tuple(self._addresses))
        self._receiver.resolutionComplete()
