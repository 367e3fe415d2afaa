"""Find the upstream that has the state of a conversation; learn it from answers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from attrs import frozen

from ...exchange.errors import StateElsewhere
from ...exchange.messages import ProxyRequest, ProxyResponse
from .answer_watch import watched
from .references import Reference
from .state_homes import Home, StateHomes
from .state_names import Digest
from .table import RoutingTable, Upstream


@frozen
class Located:
    """The upstream that has the state of a request."""

    upstream: Upstream
    param: str
    """The member of the request that refers to the state."""


class Affinity:
    """Maps state to its home: an upstream by name and URL, and the key that was used there.

    If one of these changes, its state counts as unknown: that costs a search,
    and sends no request to the wrong upstream.
    """

    def __init__(self, table: RoutingTable, homes: StateHomes) -> None:
        self._homes = homes
        self._numbers = {each.name: _number(each) for each in table.upstreams}
        self._upstreams = {self._numbers[each.name]: each for each in table.upstreams}
        self._own_keys = {each.name: _short_digest(each.key or b"") for each in table.upstreams}

    def __len__(self) -> int:
        """Return the number of names in this process's memory."""
        return len(self._homes)

    async def locate(self, references: Sequence[Reference], credential: bytes) -> Located | None:
        """Return the upstream that has the state that a request refers to; None if it is unknown.

        `credential` is the key that authentication chose. Raises StateElsewhere
        if the state is at two upstreams.
        """
        homes = await self._homes.find([name for name, _ in references])
        if not homes:
            return None
        located: Located | None = None
        for name, param in references:
            home = homes.get(name)
            upstream = self._upstream_of(home, credential) if home is not None else None
            if upstream is None:
                continue
            if located is None:
                located = Located(upstream, param)
            elif located.upstream is not upstream:
                raise StateElsewhere(
                    f"openai-proxy cannot send this request anywhere: what `{located.param}` refers to lives at"
                    f" {located.upstream.name!r}, what `{param}` refers to at {upstream.name!r}.",
                    param=param,
                )
        return located

    def learn(self, names: Sequence[Digest], upstream: Upstream, credential: bytes) -> None:
        """Remember that this state is at `upstream`."""
        if names:
            self._homes.keep(names, self._home(upstream, credential))

    def watch(self, request: ProxyRequest, response: ProxyResponse, upstream: Upstream) -> ProxyResponse:
        """Return a 2xx answer, still to be delivered, whose new state will be remembered as it passes."""
        credential = request.credential
        return watched(
            response, request.exchange.streaming, lambda names: self.learn(names, upstream, credential)
        )

    def _upstream_of(self, home: Home, credential: bytes) -> Upstream | None:
        """Return the upstream of a home, None unless it is still listed and would get the same key."""
        upstream = self._upstreams.get(home >> 32)
        return upstream if upstream is not None and self._home(upstream, credential) == home else None

    def _home(self, upstream: Upstream, credential: bytes) -> Home:
        name = upstream.name
        kept = upstream.key_for(credential) is credential
        key = _short_digest(credential) if kept else self._own_keys[name]
        return (self._numbers[name] << 32) | key


def _number(upstream: Upstream) -> int:
    return _short_digest(f"{upstream.name}\0{upstream.base_url}".encode())


def _short_digest(text: bytes) -> int:
    """Return 4 bytes of a SHA-256."""
    return int.from_bytes(sha256(text).digest()[:4], "big")
