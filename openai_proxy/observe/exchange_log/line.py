"""One exchange as a line of the exchange log. Pure.

Keys in this order: timestamp, request, response, id, key, model, outcome,
duration_s, first_byte_s, usage, cost_usd, attempts, cached, then those that
the log added to them. The model is `none` where there is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ...core.exchange import Exchange
from ..capture import BodyCapture, Capture
from ..encode import json_line
from ..record import bare_path, iso_time, seconds, usage_record
from ..redaction import credentials, scrubbed, shown_headers, without_secrets
from .bodies import KeptBody, shown_body

Pairs = list[tuple[bytes, bytes]]

NO_MODEL = "none"
"""The model of an exchange that has none, as in the name of its file."""


def exchange_line(
    exchange: Exchange, limit_bytes: int, *, bodies: bool = True, secrets: Sequence[bytes] = ()
) -> bytes:
    """Return the line of an ended exchange, with its line end.

    `bodies=False` leaves both bodies null. `secrets`, and the credentials
    that the client sent, are blotted out wherever they stand.
    """
    request = _request_body(exchange) if bodies else None
    response = _response_body(exchange) if bodies else None
    hidden = [*secrets, *credentials(exchange.request_headers)]
    record = {
        "timestamp": iso_time(exchange.timestamp),
        "request": {
            "method": exchange.method,
            "path": scrubbed(bare_path(exchange.path)),
            "headers": shown_headers(exchange.request_headers),
            "body": None if request is None else shown_body(request, limit_bytes, hidden),
        },
        "response": {
            "status_code": exchange.status,
            "headers": shown_headers(exchange.response_headers),
            "body": None if response is None else shown_body(response, limit_bytes, hidden),
            "streaming": _is_stream(exchange),
        },
        "id": exchange.id,
        "key": exchange.key,
        "model": scrubbed(exchange.model[:1000]) if exchange.model else NO_MODEL,
        "outcome": exchange.outcome.value if exchange.outcome else None,
        "duration_s": seconds(exchange.duration_s),
        "first_byte_s": seconds(exchange.first_byte_s),
        "usage": usage_record(exchange.usage),
        "cost_usd": exchange.cost_usd,
        "attempts": exchange.attempts,
        "cached": exchange.cached,
        "error_code": exchange.error_code,
        "upstream": exchange.upstream,
        "endpoint": exchange.endpoint,
    }
    return without_secrets(json_line(record), hidden)


def content_headers(pairs: Pairs | None) -> tuple[str, str]:
    """Return Content-Type and Content-Encoding; empty where there is none."""
    kind, codings = "", []
    for name, value in pairs or ():
        # The length first: this runs over every header of every exchange.
        if len(name) == 12 and name.lower() == b"content-type":
            kind = value.decode("latin-1")
        elif len(name) == 16 and name.lower() == b"content-encoding":
            codings.append(value.decode("latin-1"))
    return kind, ",".join(codings)


def _is_stream(exchange: Exchange) -> bool:
    return exchange.streaming or content_headers(exchange.response_headers)[0].lower().startswith(
        "text/event-stream"
    )


def _request_body(exchange: Exchange) -> KeptBody | None:
    data = exchange.request_body
    if data is not None:
        return _kept(data, len(data), lambda: hashlib.sha256(data).hexdigest(), exchange.request_headers)
    capture = exchange.capture
    if isinstance(capture, Capture) and capture.request.total_bytes:
        return _captured(capture.request, exchange.request_headers)
    if exchange.request_bytes:
        return _kept(b"", exchange.request_bytes, lambda: None, exchange.request_headers)
    return None


def _response_body(exchange: Exchange) -> KeptBody | None:
    capture = exchange.capture
    if not isinstance(capture, Capture):
        return None
    return _captured(capture.response, exchange.response_headers)


def _captured(capture: BodyCapture, headers: Pairs | None) -> KeptBody:
    return _kept(capture.body(), capture.total_bytes, capture.sha256, headers)


def _kept(head: bytes, total_bytes: int, sha256: Callable[[], str | None], headers: Pairs | None) -> KeptBody:
    return KeptBody(head, total_bytes, sha256, *content_headers(headers))
