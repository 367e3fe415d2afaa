"""A response as it came, byte for byte and in its own time, so that it can be replayed. Pure.

Whole or not at all: an answer that is too long, or that holds a credential,
says so in place of its chunks.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from ...exchange.record import Exchange
from ...wire.codings import maybe_decoded
from ...wire.event_data import event_data
from ...wire.key_like import KEY_LIKE
from ...wire.sse import begins_stream
from .bodies import parsed
from .capture import BodyCapture
from .secret_members import has_credentials, is_laborious


def raw_response(
    exchange: Exchange, capture: BodyCapture, coding: bytes, limit_bytes: int, hidden: Sequence[str]
) -> dict[str, Any]:
    """Return status line and chunks of a response, each with the seconds since its request's head.

    `hidden` are the secrets that must stand nowhere.
    """
    reason = exchange.reason.decode("latin-1")
    raw: dict[str, Any] = {"status_line": f"HTTP/1.1 {exchange.status or 0} {reason}"}
    data = capture.body()
    if capture.total_bytes > min(len(data), limit_bytes):
        return {**raw, "truncated": True}
    if not _may_be_shown(data, coding, limit_bytes, hidden):
        return {**raw, "redacted": True}
    chunks = []
    at = 0
    for moment, size in capture.arrivals:
        chunk = data[at : at + size]
        at += size
        chunks.append([round(max(0.0, moment - exchange.started), 6), _shown(chunk)])
    return {**raw, "chunks": chunks}


def _shown(chunk: bytes) -> Any:
    try:
        return chunk.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(chunk).decode("ascii")}


def _may_be_shown(data: bytes, coding: bytes, limit_bytes: int, hidden: Sequence[str]) -> bool:
    """Say whether the shown body would have every string of this one: nothing in it was to be blotted out."""
    if coding:
        decoded = maybe_decoded(data, coding, limit_bytes)
        if decoded is None or not decoded[1]:
            return False
        data = decoded[0]
    if is_laborious(data) or any(secret.encode("utf-8", "replace") in data for secret in hidden):
        return False
    texts = event_data(data, True)[0] if begins_stream(data) else [data]
    return not any(_has_credentials(text) for text in texts)


def _has_credentials(text: bytes) -> bool:
    try:
        return has_credentials(parsed(text))
    except ValueError:
        pass
    try:
        return KEY_LIKE.search(text.decode("utf-8")) is not None
    except UnicodeDecodeError:  # sound, images
        return False
