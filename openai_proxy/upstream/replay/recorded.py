"""A line of the exchange log as the answer that it recorded. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

import orjson
from attrs import frozen

from ...exchange.record import HeaderPairs

_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-5][0-9][0-9]) ([^\r\n]*)")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_REPLAYED = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te")
)
_REDACTED = "[redacted]"
_WITHOUT_LENGTH = frozenset((204, 304))
"""Statuses that have no body, and 204 may not even say so (RFC 9110 §8.6)."""


@frozen(repr=False)
class Recorded:
    """A recorded answer, and when each part arrived, in seconds after the head of its request."""

    status: int
    reason: bytes
    headers: HeaderPairs
    head_s: float
    chunks: list[tuple[float, bytes]]
    is_stream: bool = False

    @property
    def size_bytes(self) -> int:
        """The bytes of the body."""
        return sum(len(data) for _, data in self.chunks)


def answer_of_line(line: dict[str, Any], with_usage: bool = False) -> Recorded:
    """Return what a line recorded; ValueError with the reason if it cannot be replayed.

    Without `raw`, JSON is rendered anew, and a stream of chat completions is
    made of what it added up to, with its usage if that is asked for.
    """
    response = line["response"]
    if line.get("outcome") != "complete":
        raise ValueError("its exchange was not complete")
    head_s = _seconds(line.get("first_byte_s"))
    raw = response.get("raw")
    status = response.get("status_code")
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError("it has no status")
    reason = b""
    headers = _headers(response.get("headers"))
    content_type = next((v for n, v in headers if n.lower() == b"content-type"), b"").lower()
    is_stream = content_type.startswith(b"text/event-stream")
    if isinstance(raw, dict):
        found = _STATUS_LINE.fullmatch(str(raw.get("status_line")))
        if found is not None:
            reason = found[2].encode("latin-1", "replace")
        if "chunks" not in raw:
            why = "longer than what was recorded" if raw.get("truncated") else "recorded without credentials"
            raise ValueError(f"its answer is {why}")
        chunks = _raw_chunks(raw["chunks"])
    else:
        headers = [pair for pair in headers if pair[0].lower() != b"content-encoding"]
        made = _made(response, is_stream, _usage(line) if with_usage else None)
        chunks = [(_seconds(line.get("duration_s")), data) for data in made]
    if line["request"].get("method") == "HEAD":
        headers += _stated_length(response.get("headers"))
    elif not is_stream and status not in _WITHOUT_LENGTH:
        headers.append((b"Content-Length", b"%d" % sum(len(data) for _, data in chunks)))
    return Recorded(status, reason or b"Recorded", headers, head_s, chunks, is_stream)


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e6 else 0.0


def _headers(shown: Any) -> HeaderPairs:
    pairs = []
    for name, value in shown.items() if isinstance(shown, dict) else ():
        if not isinstance(value, str) or _REDACTED in value or name.lower() in _NOT_REPLAYED:
            continue
        if _TOKEN.fullmatch(name) and value.isprintable():
            pairs.append((name.encode("ascii"), value.encode("latin-1", "replace")))
    return pairs


def _stated_length(shown: Any) -> HeaderPairs:
    """Return the length that the answer to a HEAD stated: of a body that was not sent."""
    stated = [value for name, value in shown.items() if name.lower() == "content-length"] if shown else []
    return [
        (b"Content-Length", value.encode("ascii"))
        for value in stated
        if isinstance(value, str) and value.isascii() and value.isdigit()
    ]


def _usage(line: dict[str, Any]) -> dict[str, int] | None:
    """Return the usage that a stream is asked for: as it was reported, otherwise from the counts of the line."""
    body, counted = line["response"].get("body"), line.get("usage")
    reported = body.get("usage") if isinstance(body, dict) else None
    if isinstance(reported, dict) or not isinstance(counted, dict):
        return reported if isinstance(reported, dict) else None
    given, made = counted.get("input_tokens"), counted.get("output_tokens")
    if not isinstance(given, int) or not isinstance(made, int):
        return None
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _raw_chunks(listed: Any) -> list[tuple[float, bytes]]:
    chunks = []
    for item in listed if isinstance(listed, list) else (None,):
        if not isinstance(item, list) or len(item) != 2:
            raise ValueError("its chunks are not readable")
        data = item[1]
        if isinstance(data, str):
            chunks.append((_seconds(item[0]), data.encode("utf-8", "surrogatepass")))
            continue
        try:
            chunks.append((_seconds(item[0]), base64.b64decode(data["base64"], validate=True)))
        except (binascii.Error, KeyError, TypeError, ValueError):
            raise ValueError("its chunks are not readable") from None
    return chunks


def _made(response: dict[str, Any], is_stream: bool, usage: dict[str, int] | None) -> Iterator[bytes]:
    body = response.get("body")
    if is_stream:
        yield from _chat_stream(body, usage)
    elif isinstance(body, dict) and {"bytes", "sha256"} <= set(body):
        if "base64" not in body:
            raise ValueError("its answer is longer than what was recorded")
        try:
            yield base64.b64decode(body["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ValueError("its answer is no base64") from None
    elif body is not None:
        try:
            yield orjson.dumps(body)
        except TypeError:
            raise ValueError("its answer cannot be rendered") from None


def _chat_stream(body: Any, usage: dict[str, int] | None) -> Iterator[bytes]:
    """Make events of what a stream added up to: one delta a choice, and the `usage` if there is any."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or body.get("truncated") or body.get("object") == "text_completion":
        raise ValueError("its stream was recorded without raw=true")
    head = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    for choice in choices:
        if not isinstance(choice, dict):
            raise ValueError("its stream was recorded without raw=true")
        index, finish = choice.get("index", 0), choice.get("finish_reason")
        delta = choice.get("message") or choice.get("delta") or {}
        if isinstance(delta, dict) and isinstance(calls := delta.get("tool_calls"), list):
            numbered = [{"index": at, **call} for at, call in enumerate(calls) if isinstance(call, dict)]
            delta = {**delta, "tool_calls": numbered}
        yield _event({**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        yield _event({**head, "choices": [{"index": index, "delta": {}, "finish_reason": finish}]})
    if usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(value: Any) -> bytes:
    try:
        return b"data: " + orjson.dumps(value) + b"\n\n"
    except TypeError:
        raise ValueError("its answer cannot be rendered") from None
