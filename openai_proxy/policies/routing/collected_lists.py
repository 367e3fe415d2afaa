"""The lists of models of several upstreams, asked for at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as TwistedTimeout

from ...exchange.messages import Forward, ProxyRequest
from ...exchange.record import Exchange
from ...exchange.upstream_errors import UpstreamError
from ..bodies.decoded_body import decoded
from ..bodies.peeked_body import peek

LIST_BYTES = 4 * 1024 * 1024
LIST_PATIENCE_S = 5.0
"""How long the list of models waits for each upstream other than the first."""


async def collect_lists(
    requests: Sequence[ProxyRequest], exchange: Exchange, forward: Forward, timers: Any
) -> list[bytes]:
    """Return the answers to `requests`, made for `exchange`: bodies of status 200, at most LIST_BYTES each.

    All are asked at the same time, and have at most LIST_PATIENCE_S. An
    upstream that fails, is late or sends too much adds nothing.
    """
    # Each has a record of its own, because an attempt writes into its record.
    records = [
        Exchange(exchange.started, exchange.timestamp, exchange.method, exchange.path) for _ in requests
    ]
    for record in records:
        record.credential_id = exchange.credential_id
    asking = [
        Deferred.fromCoroutine(_list_of(request, record, forward, timers))
        for request, record in zip(requests, records, strict=True)
    ]
    try:
        bodies = await gatherResults(asking, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for record in records:
            exchange.attempts += record.attempts
            exchange.retry_reasons += record.retry_reasons
            exchange.upstream_error_kinds += record.upstream_error_kinds
    return [body for body in bodies if body]


async def _list_of(request: ProxyRequest, record: Exchange, forward: Forward, timers: Any) -> bytes:
    request.exchange = record
    asking = Deferred.fromCoroutine(_body_of(request, forward))
    asking.addTimeout(LIST_PATIENCE_S, timers)
    try:
        return await asking
    except (UpstreamError, TimeoutError, TwistedTimeout):
        return b""


async def _body_of(request: ProxyRequest, forward: Forward) -> bytes:
    response, body = await peek(decoded(await forward(request)), LIST_BYTES)
    response.body.discard()
    return body if response.status == 200 else b""
