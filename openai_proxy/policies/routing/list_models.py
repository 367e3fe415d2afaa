"""Change the list of models: add those of all upstreams and the aliases, remove those that the key may not use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ...exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse
from ...wire.body_headers import ask_identity, media_type_and_coding
from ...wire.model_list import EMPTY, changed_list
from ..authenticate.keyring import Keyring
from ..bodies.decoded_body import decoded

MOST_BYTES = 4 * 1024 * 1024
"""A longer list passes unchanged, except to a key with an allow-list, which gets an empty list."""

Elsewhere = Callable[[ProxyRequest], Awaitable[list[bytes]]]


class _ChangeList:
    """Holds the list until it is whole, then changes it. It holds at most MOST_BYTES."""

    transparent = False

    def __init__(self, change: Callable[[bytes], bytes], passes_long: bool) -> None:
        self._change = change
        self._passes_long = passes_long
        self._held: list[bytes] | None = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> bytes:
        if self._held is None:
            return data if self._passes_long else b""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes <= MOST_BYTES:
            return b""
        held, self._held = self._held, None
        return b"".join(held) if self._passes_long else EMPTY

    def finish(self) -> bytes:
        return b"" if self._held is None else self._change(b"".join(self._held))


class ListModels:
    """Change the answer of `GET /models`; asks for it uncompressed if there is something to change.

    `aliases` are names that only this proxy has. `elsewhere` returns the
    answers of the other upstreams to the same request; None if there are none.
    Keys of `keyring` with an allow-list see only the models on it.
    """

    def __init__(self, aliases: Sequence[str], keyring: Keyring | None, elsewhere: Elsewhere | None) -> None:
        self._aliases = tuple(aliases)
        self._keyring = keyring
        self._elsewhere = elsewhere

    def concerns(self, kind: Kind) -> bool:
        return kind.method == b"GET" and kind.named == "models"

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        if request.method != b"GET" or request.endpoint != "models":
            return await forward(request)
        name = request.exchange.key
        entry = self._keyring.named(name) if self._keyring is not None and name is not None else None
        allows = entry.allows if entry is not None and entry.models is not None else None
        if allows is None and not self._aliases and self._elsewhere is None:
            return await forward(request)
        request = request.evolve(headers=ask_identity(request.headers))
        response = await forward(request)
        if response.status != 200:
            return response
        response = decoded(response)  # some servers compress although they were asked not to
        if media_type_and_coding(response.headers)[1]:
            return response
        others: list[bytes] = []
        if self._elsewhere is not None:
            try:
                others = await self._elsewhere(request)
            except BaseException:
                response.body.discard()
                raise
        aliases = self._aliases

        def change(body: bytes) -> bytes:
            return changed_list(body, others, aliases, allows)

        return response.filtered(_ChangeList(change, allows is None))
