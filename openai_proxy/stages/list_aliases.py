"""Show the models that exist by alias alone in the list of models."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..core.body_headers import media_type_and_coding
from ..core.json_members import iter_members
from ..decoded_body import decoded
from ..messages import Forward, ProxyRequest, ProxyResponse

MOST_BYTES = 4 * 1024 * 1024
"""A longer list passes as it is."""


def with_aliases(body: bytes, aliases: Sequence[str]) -> bytes:
    """Return the JSON list of models `body` with `aliases` at its end; unchanged where it is none."""
    try:
        models = json.loads(body)["data"]
        if not isinstance(models, list):
            return body
        listed = {item["id"] for item in models}
        start = len(body) - len(body.lstrip())
        span = dict(iter_members(body, start))["data"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return body
    new = [
        json.dumps({"id": alias, "object": "model", "created": 0, "owned_by": "openai-proxy"})
        for alias in aliases
        if alias not in listed
    ]
    if not new:
        return body
    close = span[1] - 1
    comma = b"," if listed else b""
    return body[:close] + comma + ",".join(new).encode("ascii") + body[close:]


class _AppendAliases:
    """Holds the list until it is whole, then adds to it. At most MOST_BYTES."""

    transparent = False

    def __init__(self, aliases: Sequence[str]) -> None:
        self._aliases = aliases
        self._held: list[bytes] | None = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> bytes:
        if self._held is None:
            return data
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes <= MOST_BYTES:
            return b""
        held, self._held = self._held, None
        return b"".join(held)

    def finish(self) -> bytes:
        return b"" if self._held is None else with_aliases(b"".join(self._held), self._aliases)


class ListAliases:
    """Add `aliases` to the answer of `GET /models`; asks for it uncompressed."""

    def __init__(self, aliases: Sequence[str]) -> None:
        self._aliases = tuple(aliases)

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        if request.method != b"GET" or request.target.partition(b"?")[0] != b"/models":
            return await forward(request)
        headers = [pair for pair in request.headers if pair[0].lower() != b"accept-encoding"]
        response = await forward(request.evolve(headers=[*headers, (b"Accept-Encoding", b"identity")]))
        if response.status != 200:
            return response
        response = decoded(response)  # some compress although they were asked not to
        if media_type_and_coding(response.headers)[1]:
            return response
        return response.filtered(_AppendAliases(self._aliases))
