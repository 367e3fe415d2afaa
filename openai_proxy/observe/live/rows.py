"""One exchange as the live view shows it: metadata only, and which of them somebody wants to see. Pure.

No header and no body ever passes through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import frozen

from ...exchange.record import Exchange
from ..lines.record import MAX_FIELD, bare_path, code, iso_time, seconds
from ..redaction import scrubbed

Row: TypeAlias = dict[str, Any]

RUNNING, ENDED = "running", "ended"
MOST_ROWS = 1000
"""The greatest `limit`."""


@frozen
class Wanted:
    """Which rows somebody asks for; None is all. `limit` is from 1 to MOST_ROWS."""

    state: str | None = None
    """`running` or `ended`."""
    key: str | None = None
    model: str | None = None
    endpoint: str | None = None
    limit: int = 200

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is among them, whatever its state."""
        return (
            (self.key is None or row["key"] == self.key)
            and (self.model is None or row["model"] == self.model)
            and (self.endpoint is None or row["endpoint"] == self.endpoint)
        )

    def may_have(self, exchange: Exchange) -> bool:
        """Whether the row of an exchange can be among them: asked before it is made."""
        return (self.endpoint is None or exchange.endpoint == self.endpoint) and (
            self.key is None or exchange.caller == self.key
        )


def state(exchange: Exchange) -> str:
    """Return where an exchange is: `queued`, `waiting`, `streaming`, `tunnel` or `ended`."""
    if exchange.outcome is not None:
        return ENDED
    if exchange.status == 101:
        return "tunnel"
    if exchange.first_byte_at is not None:
        return "streaming"
    return "queued" if exchange.is_queued else "waiting"


def row(exchange: Exchange, now: float) -> Row:
    """Return the row of an exchange; `now` in monotonic seconds."""
    usage, model = exchange.usage, exchange.model
    outcome, ended_at = exchange.outcome, exchange.ended_at
    if usage is not None:
        output_tokens, estimated, input_tokens = usage.output_tokens, usage.estimated, usage.input_tokens
    else:
        events = exchange.output_events
        output_tokens, estimated, input_tokens = events() if events is not None else 0, outcome is None, None
    return {
        "id": exchange.id,
        "state": state(exchange),
        "key": exchange.caller,
        "tags": dict(exchange.tags),
        "method": exchange.method,
        "endpoint": exchange.endpoint,
        "model": None if model is None else scrubbed(model[:MAX_FIELD]),
        "upstream": exchange.upstream,
        "transport": "websocket" if exchange.status == 101 or exchange.method == "WS" else "http",
        "age_s": seconds((now if ended_at is None else ended_at) - exchange.started),
        "first_byte_s": seconds(exchange.first_byte_s),
        "output_tokens": output_tokens,
        "estimated": estimated,
        "bytes_out": exchange.response_bytes,
        "attempts": exchange.attempts,
        "status": exchange.status,
        "outcome": None if outcome is None else outcome.value,
        "cost_usd": exchange.cost_usd,
        "started": iso_time(exchange.timestamp),
        "input_tokens": input_tokens,
        "cached": exchange.cached,
        "error_code": code(exchange),
    }


def details(exchange: Exchange, now: float) -> Row:
    """Return the row of an exchange with what is shown only of a single one: path, timeline and failures."""
    first, ended = exchange.first_byte_at, exchange.ended_at
    return {
        **row(exchange, now),
        "end_user": exchange.end_user,
        "path": scrubbed(bare_path(exchange.path)),
        "connection": exchange.connection,
        "turn": exchange.turn,
        "timeline": {
            "queued_s": seconds(exchange.queued_s),
            "connect_s": seconds(exchange.connect_s),
            "upstream_s": seconds(exchange.upstream_s),
            "first_byte_s": seconds(exchange.first_byte_s),
            "streaming_s": None if first is None else seconds((now if ended is None else ended) - first),
        },
        "upstream_failure": exchange.upstream_failure,
        "retry_reasons": list(exchange.retry_reasons),
        "failed_upstreams": list(exchange.failed_upstreams),
        "cache_result": exchange.cache_result,
        "request_bytes": exchange.request_bytes,
        "reserved_usd": exchange.reserved_usd,
    }


_BEFORE: Row = {
    "state": "waiting",
    "age_s": 0.0,
    "first_byte_s": None,
    "output_tokens": 0,
    "estimated": True,
    "bytes_out": 0,
    "status": None,
    "outcome": None,
    "cost_usd": None,
    "input_tokens": None,
    "error_code": None,
}


def as_started(ended: Row) -> Row:
    """Return the row of an exchange as it was at its start, made from the one at its end."""
    return {**ended, **_BEFORE}


def as_lost(running: Row) -> Row:
    """Return the row of an exchange whose process ended without a word."""
    return {**running, "state": ENDED, "outcome": "worker_lost"}
