"""Note the tags of requests, and keep their headers from the upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .rules import TagValues, end_user_name, tag_value

Tags = Sequence[tuple[str, str]]


class TagRequests:
    """Note the tags of a request: whom within a key it is for.

    `headers` are the names of tags by their headers, in lower case. `own` are
    fixed tags of keys, by `credential_id`: they take precedence over the
    client's. `removes`: the headers are not forwarded.
    """

    def __init__(
        self,
        headers: Mapping[bytes, str],
        own: Mapping[str, Tags],
        values: TagValues,
        removes: bool = True,
    ) -> None:
        self._headers = dict(headers)
        self._own = dict(own)
        self._known = values
        self._removes = removes

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        exchange, found = request.exchange, {}
        lines = self._headers and [(pair, self._headers.get(pair[0].lower())) for pair in request.headers]
        for pair, tag in lines or ():
            if tag is not None:
                value = tag_value(pair[1])
                if value is not None:
                    found[tag] = value
        found.update(self._own.get(exchange.credential_id, ()))
        if found:
            exchange.tags = tuple((tag, self._known.of(tag, value)) for tag, value in sorted(found.items()))
        if lines and self._removes and any(tag is not None for _, tag in lines):
            request.headers = [pair for pair, tag in lines if tag is None]
        return forward(request)


class NameEndUser:
    """Note the end user that the body names: `safety_identifier`, else `user`."""

    def __init__(self, hashed: bool) -> None:
        self._hashed = hashed

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        document = request.document
        if document is not None:
            user = document.get("safety_identifier") or document.get("user")
            request.exchange.end_user = end_user_name(user, self._hashed)
        return forward(request)
