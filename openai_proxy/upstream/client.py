"""treq's client, straight to the agent.

treq's own request() keeps cookies for all callers, follows redirects, asks
for gzip and rewrites URLs: right for programs, wrong for a proxy. This one
hands over what it is given, and gives back what came.
"""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred

from .body import as_body_producer
from .response import UpstreamResponse


class UpstreamClient(HTTPClient):
    """An HTTPClient whose requests reach the agent unchanged.

    Responses are undelivered (treq's `unbuffered`): `treq.content` and its
    kin work on them, once.
    """

    def __init__(self, agent: Any) -> None:
        super().__init__(agent, data_to_body_producer=as_body_producer)

    def request(  # type: ignore[override]  # treq's further options are what a proxy must not do
        self, method: bytes | str, url: bytes | str, *, headers: Any = None, data: Any = None
    ) -> Deferred[UpstreamResponse]:
        """Send one request; `data` is bytes, an IBodyProducer or None."""
        return self._agent.request(  # type: ignore[return-value]  # our agent, or a test's
            method if isinstance(method, bytes) else method.encode("ascii"),
            url if isinstance(url, bytes) else url.encode("ascii"),
            headers,
            None if data is None else as_body_producer(data),
        )
