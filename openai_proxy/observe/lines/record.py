"""What the text and JSON observers show of an exchange: metadata only.

No header and no body ever passes through here. Pure.
"""

from __future__ import annotations

import operator
from datetime import datetime, timezone
from typing import Any

from attrs import fields

from ...exchange.bounded_memo import short_memo
from ...exchange.record import Exchange
from ...exchange.usage import TokenKinds, Usage
from ...wire.headers import ReadLines, get
from ...wire.kept_lines import KeptLines
from ..redaction import scrubbed, scrubbed_once

_KINDS = tuple(field.name for field in fields(TokenKinds))
MAX_FIELD = 200
"""Characters of a stranger's value that are shown."""
_WORDS_KEPT = 1024


def iso_time(timestamp: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with milliseconds."""
    milliseconds = int(timestamp * 1000)
    return f"{_iso_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@short_memo(4, size=int.bit_length)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def bare_path(path: str) -> str:
    """Return the path of a request's target, and nothing else of it that might have come along.

    No query, no fragment; of a target in absolute form (`http://user:key@host/path`)
    neither user nor host.
    """
    if path[:1] != "/":
        _, scheme, rest = path.partition("://")
        path = "/" + rest.partition("/")[2] if scheme else path.rpartition("@")[2]
    if "#" in path:
        path = path.partition("#")[0]
    return path.partition("?")[0]


def shown(value: str | None) -> str:
    """Return a stranger's value as one printable word without control characters.

    `-` for None and for the empty string; backslash escapes for what does
    not print (line ends, ANSI, surrogates) and for blanks.
    """
    return _word(value) if value else "-"


def _word_seen_once(value: str) -> str:
    """Return what `shown` does of a value that is not empty; for one that does not come again."""
    cut = scrubbed_once(value[:1000])[:MAX_FIELD]
    if not (cut.isascii() and cut.isprintable()) or " " in cut or "\\" in cut:
        cut = "".join(map(_escaped, cut))
    if len(value) > MAX_FIELD or len(cut) > 2 * MAX_FIELD:
        cut = cut[:MAX_FIELD] + "..."
    return cut


# Callers, paths and models come again and again. No value is kept in which something looked like a key.
_word = short_memo(_WORDS_KEPT, keeps=operator.eq)(_word_seen_once)


def _escaped(character: str) -> str:
    if character.isprintable() and character not in " \\":
        return character
    return (
        character.encode("unicode_escape", "backslashreplace").decode("ascii")
        if character != " "
        else "\\x20"
    )


LEGEND = (
    "time, caller, method, path, model, status, duration, first= (time to the first byte), tokens= (input/output;"
    " ~ estimated), cost=, outcome, then if there is one: attempts=, cached, turn= and connection= (of a WebSocket),"
    " waited= (in this proxy's own queue),"
    " code= (of an error of this proxy's own), reason= (why the upstream failed), client= (its address),"
    " upstream_id= (the upstream's x-request-id), id= (the exchange's, as in x-request-id of our own errors)"
)
"""What the parts of the console's line are; shown in the help."""


def code(exchange: Exchange) -> str | None:
    """Return the error code for the operator, which distinguishes the limits of requests, tokens and concurrency."""
    if exchange.rate_limited in _LIMITS:
        return f"{exchange.rate_limited}_limit_exceeded"
    return exchange.error_code


_LIMITS = frozenset(("requests", "tokens", "concurrent"))


def upstream_id(exchange: Exchange) -> str | None:
    """Return the `x-request-id` that the upstream gave; None for an error of our own."""
    headers = exchange.response_headers
    if headers is None or exchange.error_code is not None:
        return None
    found = headers.request_id if isinstance(headers, ReadLines | KeptLines) else None
    if found is None and not isinstance(headers, ReadLines):
        found = get(headers, b"x-request-id")
    return None if found is None else found.decode("latin-1")


def text_line(exchange: Exchange, *, with_address: bool = True) -> str:
    """Return the line of the console, without its line end; `LEGEND` says what its parts are."""
    usage = exchange.usage
    first_byte_at = exchange.first_byte_at
    line = (
        f"{iso_time(exchange.timestamp)} {shown(exchange.caller)} {shown(exchange.method)}"
        f" {shown(bare_path(exchange.path))} {shown(exchange.model)}"
        f" {'-' if exchange.status is None else exchange.status} {exchange.duration_s:.3f}s first="
    )
    line += "-" if first_byte_at is None else f"{first_byte_at - exchange.started:.3f}s"
    line += " tokens=-" if usage is None else f" tokens={_tokens(usage)}"
    line += " cost=-" if exchange.cost_usd is None else f" cost=${exchange.cost_usd:.6f}"
    line += f" {exchange.outcome.value if exchange.outcome else '-'}"
    if exchange.attempts > 1:
        line += f" attempts={exchange.attempts}"
    if exchange.cached:
        line += " cached"
    if exchange.connection is not None:
        line += f" turn={exchange.turn or '-'} connection={exchange.connection}"
    if exchange.queued_s > 0.0:
        line += f" waited={exchange.queued_s:.3f}s"
    if exchange.error_code is not None:
        line += f" code={shown(code(exchange))}"
    if exchange.upstream_failure is not None:
        line += f' reason="{_sentence(exchange.upstream_failure)}"'
    address = exchange.client_address if with_address else None
    if address is not None:
        line += f" client={shown(address)}"
    theirs = upstream_id(exchange)
    if theirs is not None:
        line += f" upstream_id={_word_seen_once(theirs) if theirs else '-'}"
    return f"{line} id={exchange.id}"


def _sentence(text: str) -> str:
    """Return a sentence of ours in which a stranger may have had a word (a name of its certificate), in one line."""
    return "".join(c if c.isprintable() and c != '"' else "?" for c in scrubbed(text[:1000]))


def _tokens(usage: Usage) -> str:
    return f"{'~' if usage.estimated else ''}{usage.input_tokens}/{usage.output_tokens}"


def usage_record(usage: Usage | None) -> dict[str, Any] | None:
    """Return the model tokens as JSON, or None if they are not known."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
        **_kinds_record(usage.kinds),
    }


def _turn_record(exchange: Exchange) -> dict[str, Any]:
    """Return which turn of which WebSocket an exchange is; nearly always it is none."""
    if exchange.connection is None:
        return {}
    return {"connection": exchange.connection, "turn": exchange.turn}


def _kinds_record(kinds: TokenKinds | None) -> dict[str, Any]:
    """Return the counts of the kinds that were used; nearly always there are none."""
    if kinds is None:
        return {}
    return {name: count for name in _KINDS if (count := getattr(kinds, name))}


def seconds(value: float | None) -> float | None:
    """Return a duration to the microsecond."""
    # round(value, 6) takes thrice the time
    return None if value is None else round(value * 1e6) / 1e6


def who(exchange: Exchange) -> dict[str, Any]:
    """Return tags and end user as JSON; nothing if there are none."""
    found: dict[str, Any] = {}
    if exchange.tags:
        found["tags"] = dict(exchange.tags)
    if exchange.end_user is not None:
        found["end_user"] = exchange.end_user
    return found


def metadata(exchange: Exchange, *, with_address: bool = True) -> dict[str, Any]:
    """Return the JSON object of the `json` observer; docs/reference/observers.md lists the keys."""
    theirs = upstream_id(exchange)
    return {
        "timestamp": iso_time(exchange.timestamp),
        "id": exchange.id,
        "key": exchange.caller,
        "method": exchange.method,
        "path": scrubbed(bare_path(exchange.path)),
        "endpoint": exchange.endpoint,
        "model": None if exchange.model is None else scrubbed(exchange.model[:MAX_FIELD]),
        "status": exchange.status,
        "outcome": exchange.outcome.value if exchange.outcome else None,
        "error_code": code(exchange),
        "upstream_failure": exchange.upstream_failure,
        "duration_s": seconds(exchange.duration_s),
        "first_byte_s": seconds(exchange.first_byte_s),
        "streaming": exchange.streaming,
        "usage": usage_record(exchange.usage),
        "cost_usd": exchange.cost_usd,
        "upstream": exchange.upstream,
        "attempts": exchange.attempts,
        "cached": exchange.cached,
        "request_bytes": exchange.request_bytes,
        "response_bytes": exchange.response_bytes,
        "queued_s": seconds(exchange.queued_s),
        "upstream_request_id": None if theirs is None else scrubbed(theirs[:MAX_FIELD]),
        **who(exchange),
        **_turn_record(exchange),
        **({"client_address": exchange.client_address} if with_address else {}),
    }
