"""One exchange as a line of the exchange log. Pure.

Keys in this order: timestamp, request, response, id, key, model, outcome,
duration_s, first_byte_s, usage, cost_usd, attempts, cached, then those that
the log added to them. The model is `none` if there is none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import orjson

from ...exchange.record import Exchange
from ...wire.body_headers import EVENT_STREAM, media_type_and_coding
from ...wire.request_json import opened
from ..lines.encode import MAX_DEPTH, RawJSON, json_line
from ..lines.record import bare_path, iso_time, seconds, usage_record, who
from ..redaction import REDACTED, scrubbed
from .bodies import KeptBody, shown_body
from .capture import BodyCapture, Capture
from .credentials import credentials, without_texts
from .raw import raw_response
from .secret_members import is_laborious, shows_no_credentials
from .shown_headers import shown_headers

NO_MODEL = "none"
"""The model of an exchange that has none, as in the name of its file."""

TypeAndCoding: TypeAlias = tuple[bytes, bytes]
"""Media type and content coding of a body, as `media_type_and_coding` reads them."""

_UNKNOWN: TypeAndCoding = b"", b""
_LARGE_BYTES = 64 * 1024


def exchange_line(
    exchange: Exchange,
    limit_bytes: int,
    *,
    bodies: bool = True,
    raw: bool = False,
    secrets: Sequence[str] = (),
) -> bytes:
    """Return the line of an ended exchange, with its line end.

    `bodies=False` leaves both bodies null. `secrets`, and the credentials
    that the client sent, are blotted out of what strangers wrote: path,
    headers, bodies. What we say ourselves is never touched. `raw=True` adds
    what is needed to replay it: the target, and the response as it came.
    """
    copied = bodies and _may_be_copied(exchange, limit_bytes)
    asked = media_type_and_coding(exchange.request_headers or ()) if bodies and not copied else _UNKNOWN
    answered = media_type_and_coding(exchange.response_headers or ())
    hidden = (*secrets, *credentials(exchange.request_headers))
    request = response = None
    if bodies:
        request = _copied(exchange) if copied else _request_body(exchange, asked, limit_bytes, hidden)
        if isinstance(exchange.capture, Capture):
            response = shown_body(_kept(exchange.capture.response, answered), limit_bytes, hidden)
    record = _record(exchange, request, response, answered[0] == EVENT_STREAM, secrets)
    if raw:
        record["request"]["target"] = _shown_target(exchange.target)
        if bodies and isinstance(exchange.capture, Capture):
            record["response"]["raw"] = raw_response(
                exchange, exchange.capture.response, answered[1], limit_bytes, hidden
            )
    line = json_line(record)
    found = [secret for secret in hidden if _stands_in(secret, line)]
    return _line_without(found, record) if found else line


def _record(
    exchange: Exchange, request: Any, response: Any, is_stream: bool, secrets: Sequence[str]
) -> dict[str, Any]:
    """Return what a line says of an exchange; `request` and `response` stand for the bodies."""
    asked, answered = shown_headers(exchange.request_headers), shown_headers(exchange.response_headers)
    model, outcome = exchange.model, exchange.outcome
    if model:
        model = _shown_model(model, secrets)
    id, duration_s, first_byte_s = exchange.id, exchange.duration_s, exchange.first_byte_s
    record: dict[str, Any] = {
        "timestamp": iso_time(exchange.timestamp),
        "request": {
            "method": exchange.method,
            "path": scrubbed(bare_path(exchange.path)),
            "headers": asked,
            "body": request,
        },
        "response": {
            "status_code": exchange.status,
            "headers": answered,
            "body": response,
            "streaming": is_stream or exchange.streaming,
        },
        "id": id,
        "key": exchange.key,
        "model": model or NO_MODEL,
        "outcome": outcome.value if outcome else None,
        "duration_s": seconds(duration_s),
        "first_byte_s": seconds(first_byte_s),
        "usage": usage_record(exchange.usage),
        "cost_usd": exchange.cost_usd,
        "attempts": exchange.attempts,
        "cached": exchange.cached,
        "error_code": exchange.error_code,
        "upstream": exchange.upstream,
        "endpoint": exchange.endpoint,
    }
    if exchange.tags or exchange.end_user is not None:
        record.update(who(exchange))
    if exchange.route_reason is not None:
        record["route_reason"] = exchange.route_reason
    if exchange.connection is not None:
        record["connection"], record["turn"] = exchange.connection, exchange.turn
    return record


def _line_without(found: Sequence[str], record: dict[str, Any]) -> bytes:
    """Return the line of a record with these secrets blotted out of what strangers wrote; changes the record."""
    for part in (record["request"], record["response"]):
        without_texts(part["headers"], found)
        if type(part["body"]) is RawJSON:
            part["body"] = orjson.loads(part["body"].text)
        part["body"] = without_texts(part["body"], found)
    for name in ("path", "target"):
        if name in record["request"]:
            record["request"][name] = without_texts(record["request"][name], found)
    return json_line(record)


def _stands_in(secret: str, line: bytes) -> bool:
    """Whether a line of JSON may hold this text; a text with escapes is found by its longest plain part."""
    longest = max(_escapable.split(secret), key=len)
    return not longest or longest.encode("ascii") in line


_escapable = re.compile(r"[^\x20-\x7e]|[\"\\/]")


def _shown_model(model: str, secrets: Sequence[str]) -> str:
    """Return a model's name without what looks like a key, and without any key of ours."""
    text = scrubbed(model[:1000])
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def _shown_target(target: bytes) -> str:
    return scrubbed(target.decode("latin-1"))


def _may_be_copied(exchange: Exchange, limit_bytes: int) -> bool:
    """Whether the request's body is fit for a line: an object on one line, not too deep, without escapes of plain characters.

    Such an escape could hide a secret.
    """
    body = exchange.request_body
    return (
        body is not None
        and exchange.request_is_ordinary
        and len(body) <= limit_bytes
        and b"\n" not in body
        and b"\r" not in body
        and (b"\\" not in body or not (b"\\u" in body or b"\\/" in body))
        and not (len(body) > _LARGE_BYTES and is_laborious(body))
        and opened(body) <= MAX_DEPTH
    )


def _copied(exchange: Exchange) -> Any:
    """Return a body that may be copied: as it was sent, each number too, unless it holds a credential."""
    body: Any = exchange.request_body
    document = orjson.loads(body)
    return RawJSON(body) if shows_no_credentials(document, body) else document


def _request_body(exchange: Exchange, kind: TypeAndCoding, limit_bytes: int, hidden: Sequence[str]) -> Any:
    data, capture = exchange.request_body, exchange.capture
    if data is not None:
        body = KeptBody(data, len(data), lambda: hashlib.sha256(data).hexdigest(), *kind)
        if len(data) > _LARGE_BYTES and is_laborious(data):
            limit_bytes = min(limit_bytes, len(data) - 1)
    elif isinstance(capture, Capture) and capture.request.total_bytes:
        body = _kept(capture.request, kind)
    else:
        body = KeptBody(b"", exchange.request_bytes, lambda: None, *kind)
    return shown_body(body, limit_bytes, hidden)


def _kept(capture: BodyCapture, kind: TypeAndCoding) -> KeptBody:
    return KeptBody(capture.body(), capture.total_bytes, capture.sha256, *kind)
