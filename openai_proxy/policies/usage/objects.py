"""Model tokens used: what the usage objects of answers say. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from ...exchange.usage import TokenKinds, Usage
from ...wire.documents import maybe_object

_MOST_TOKENS = 1 << 53
BYTES_PER_TOKEN = 4
"""Of text, in estimates."""
_USAGE = b'"usage":'
_CACHED_BESIDE = frozenset(("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"))
"""Where DeepSeek, Moonshot and Databricks have the cached tokens."""


def _count(value: Any) -> int | None:
    if type(value) is int and 0 <= value <= _MOST_TOKENS:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_TOKENS:
        return None
    return int(value)


def _detail(details: Any, name: str) -> int:
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0


def maybe_usage(usage: Any) -> Usage | None:
    """Read a `usage` object of any of OpenAI's APIs; None if it counts nothing.

    If `total_tokens` exceed input and output, the rest is output: some
    upstreams (xAI) report reasoning beside the completion, not inside it.
    """
    if not isinstance(usage, dict):
        return None
    get = usage.get
    given = get("prompt_tokens")
    if given is None:
        given = get("input_tokens")
    made = get("completion_tokens")
    if made is None:
        made = get("output_tokens")
    if type(given) is not int or not 0 <= given <= _MOST_TOKENS:
        given = _count(given)
    if type(made) is not int or not 0 <= made <= _MOST_TOKENS:
        made = _count(made)
    total = get("total_tokens")
    if given is None and made is None:
        return _without_counts(usage, total)
    given, made = given or 0, made or 0
    if type(total) is int and given + made < total <= _MOST_TOKENS:
        made = total - given
    read = get("prompt_tokens_details") or get("input_tokens_details") or get("input_token_details")
    written = get("completion_tokens_details") or get("output_tokens_details") or get("output_token_details")
    if not read and not written and _CACHED_BESIDE.isdisjoint(usage):
        return Usage(given, made)
    return Usage(
        given,
        made,
        _detail(read, "cached_tokens") or _cached_beside(usage, given),
        _detail(written, "reasoning_tokens"),
        kinds=_maybe_kinds(read, written, 0 if usage.get("prompt_tokens_details") else made),
    )


def _cached_beside(usage: dict[str, Any], given: int) -> int:
    """Return the cached tokens of a usage that has no details of its input."""
    cached = _detail(usage, "prompt_cache_hit_tokens") or _detail(usage, "cached_tokens")
    if cached:
        return min(cached, given)
    read = _detail(usage, "cache_read_input_tokens")  # at Anthropic itself no part of `input_tokens`
    return read if "prompt_tokens" in usage and read <= given else 0


def _without_counts(usage: dict[str, Any], total: Any) -> Usage | None:
    """Read usage that counts neither input nor output: only a total, or the seconds of a transcription."""
    tokens = _count(total)
    if tokens is not None:
        return Usage(input_tokens=tokens)
    seconds = usage.get("seconds") if usage.get("type") == "duration" else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _MOST_TOKENS:
        return None
    return Usage(kinds=TokenKinds(audio_seconds=float(seconds)))


def _maybe_kinds(read: Any, written: Any, drawn: int) -> TokenKinds | None:
    """Return what of the tokens is no plain text; None if there is nothing of the sort.

    `drawn` is the output if it is an image unless the details say otherwise: an
    answer of the images API has details of its input only. A chat that was
    shown an image may have such details too, and writes text.
    """
    read = read if isinstance(read, dict) else {}
    written = written if isinstance(written, dict) else {}
    of_input = read.get("audio_tokens") or read.get("image_tokens") or read.get("cache_write_tokens")
    if not (of_input or written.get("audio_tokens") or written.get("image_tokens")):
        return (
            None
            if "image_tokens" not in read or written or not drawn
            else TokenKinds(image_output_tokens=drawn)
        )
    cached = read.get("cached_tokens_details")
    images = _detail(written, "image_tokens") if written or "image_tokens" not in read else drawn
    return TokenKinds(
        cache_write_tokens=_detail(read, "cache_write_tokens"),
        audio_input_tokens=_detail(read, "audio_tokens"),
        audio_output_tokens=_detail(written, "audio_tokens"),
        audio_cached_tokens=_detail(cached, "audio_tokens"),
        image_input_tokens=_detail(read, "image_tokens"),
        image_output_tokens=images,
        image_cached_tokens=_detail(cached, "image_tokens"),
    )


def usage_of_document(data: bytes) -> Usage | None:
    """Read the usage of a whole JSON document; None if it is none, or has none.

    Nearly always it is one of the last members, and is read without
    decoding what the model wrote.
    """
    at = data.rfind(_USAGE)
    if at >= 0:
        last = data.rfind(b"}")
        end = data.rfind(b"}", at, last) + 1
        # Nothing but the document is closed after it, so it is the document's own.
        if end and data.find(b"]", end) < 0:
            try:
                return maybe_usage(orjson.loads(data[at + len(_USAGE) : end]))
            except orjson.JSONDecodeError:
                pass
    document = maybe_object(data)
    return None if document is None else maybe_usage(document.get("usage"))
