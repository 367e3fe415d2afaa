"""How a body stands in the exchange log. Pure.

JSON as itself, a stream as what it adds up to, all else as its size,
digest and, within the limit, base64. What is cut says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from attrs import define

from ...wire.body_headers import EVENT_STREAM
from ...wire.codings import maybe_decoded
from ...wire.event_data import event_data
from ...wire.key_like import KEY_LIKE
from ...wire.sse import begins_stream
from ..redaction import REDACTED, scrubbed
from .assembly.assemble import assemble
from .assembly.runs import shortened
from .secret_members import without_credentials
from .torn_members import torn_without_credentials

_MAX_DIGITS = 4000
_DONE = b"[DONE]"


@define(eq=False)
class KeptBody:
    """What is known of a body when its exchange has ended. Never mutated (not frozen: that takes longer to make)."""

    head: bytes
    """Its first bytes, as they were on the wire."""
    total_bytes: int
    sha256: Callable[[], str | None]
    """Gives the digest of the whole body on the wire, None if it is not known."""
    media_type: bytes = b""
    coding: bytes = b""


def shown_body(body: KeptBody, limit_bytes: int, secrets: Sequence[str] = ()) -> Any:
    """Return the JSON value that stands for `body`; None for an empty one.

    `secrets` are blotted out of what becomes base64, if nobody finds
    them any more; elsewhere they stand as they are.
    """
    if not body.total_bytes:
        return None
    head, whole = body.head[:limit_bytes], body.total_bytes <= min(len(body.head), limit_bytes)
    if body.coding:
        decoded = maybe_decoded(body.head, body.coding, limit_bytes)
        if decoded is None:
            return _opaque(body, body.head[:limit_bytes], whole, secrets)
        head, all_of_it = decoded
        whole = all_of_it and body.total_bytes <= len(body.head)
    kind, begins_json = body.media_type, head[:1] in (b"{", b"[")
    if kind == EVENT_STREAM or (not begins_json and _may_be_stream(kind) and begins_stream(head)):
        return shown_stream(head, whole, body.total_bytes)
    if whole and (begins_json or not kind or b"json" in kind):
        try:
            return without_credentials(parsed(head))
        except ValueError:
            pass
    if not whole and (b"json" in kind or kind.startswith(b"text/")):
        shown = torn_without_credentials(head).decode("utf-8", "replace")
        return {**_facts(body), "truncated": True, "text": shown if b"json" in kind else scrubbed(shown)}
    return _opaque(body, head, whole, secrets)


def _may_be_stream(kind: bytes) -> bool:
    """Whether a body of this type may be an event stream with a wrong label."""
    return not kind or b"json" in kind or kind.startswith(b"text/")


def parsed(text: bytes) -> Any:
    """Decode JSON that a log reader can decode too; ValueError for what is none.

    RFC 8259 without NaN. Numbers of thousands of digits and nesting of
    hundreds of levels count as none: most readers fail on them.
    """
    try:
        value = orjson.loads(text)
        # orjson writes no more than 254 levels; readers in Python stop near 1000.
        if text.count(b"[") + text.count(b"{") > 200:
            orjson.dumps(value)
    except ValueError:
        pass
    except TypeError:
        raise ValueError("too deeply nested") from None
    else:
        return value
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _refuse(constant: str) -> Any:
    raise ValueError("not JSON (RFC 8259)")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _facts(body: KeptBody) -> dict[str, Any]:
    return {"bytes": body.total_bytes, "sha256": body.sha256()}


def _opaque(body: KeptBody, head: bytes, whole: bool, secrets: Sequence[str]) -> dict[str, Any]:
    if not whole:
        return {**_facts(body), "truncated": True}
    head = _without_keys(head)
    for secret in map(str.encode, secrets):
        if secret in head:
            head = head.replace(secret, REDACTED.encode("ascii"))
    return {**_facts(body), "base64": base64.b64encode(head).decode("ascii")}


def _without_keys(data: bytes) -> bytes:
    """Return text without what looks like a key in it; bytes that are no text as they are."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    return KEY_LIKE.sub(REDACTED, text).encode()


def shown_stream(head: bytes, whole: bool, total_bytes: int) -> dict[str, Any]:
    """Return what stands for an event stream of `total_bytes` that begins with `head`."""
    texts, torn = event_data(head, whole)
    if torn is not None and not isinstance(_event(torn), str):
        texts.append(torn)
    together = assemble(_events(shortened(texts)))
    if together is None:
        together = {"chunks": _events(texts)}
    without_credentials(together)  # in place
    if not whole:
        return {**together, "truncated": True, "bytes": total_bytes}
    return together


def _events(texts: list[bytes]) -> list[Any]:
    """Decode each event's data but `[DONE]`; what is no JSON is a string."""
    texts = [text for text in texts if not text.startswith(_DONE)]
    try:
        events = orjson.loads(b"[" + b",".join(texts) + b"]")
    except ValueError:
        events = ()
    if len(events) == len(texts):
        return list(events)
    return [_event(text) for text in texts]


def _event(data: bytes) -> Any:
    try:
        return parsed(data)
    except ValueError:
        return data.decode("utf-8", "replace")
