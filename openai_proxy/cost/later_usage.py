"""Read from an answer about a background response its name, state and usage. Pure.

The answer that creates one (POST /responses with `background`) and later
answers about it (GET /responses/{id}, also as a stream) contain a `response`
object, as OpenAI's API describes it.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen

from ..exchange.usage import Usage
from ..policies.usage.objects import maybe_usage
from ..wire.documents import maybe_object
from ..wire.sse import SSEDecoder, begins_stream

_FINAL = frozenset(("completed", "incomplete", "failed", "cancelled"))
_LONGEST_NAME = 256
_FIRST_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,256})"')


@frozen
class ResponseState:
    """The parts of a `response` object that affect cost; None for what it does not say."""

    id: str | None
    status: str | None
    model: str | None
    service_tier: str | None
    usage: Usage | None

    @property
    def is_final(self) -> bool:
        """Whether the response has ended."""
        return self.status in _FINAL


@frozen
class KeptCall:
    """A background call whose usage has not been read yet."""

    model: str | None
    """The model that the client asked for, which determines the price; None if only the answer names one."""
    has_budget: bool
    """Money is reserved for it in the ledger, which knows whether it was settled."""


def maybe_state(body: bytes) -> ResponseState | None:
    """Read the body of such an answer, whole or its beginning; None if it contains no `response` object.

    In an event stream, the last event with one counts. O(n).
    """
    if begins_stream(body):
        found = None
        decoder = SSEDecoder(len(body))
        for block in [*decoder.feed(body), *decoder.finish()]:
            if block.data is not None and b'"response"' in block.data:
                event = maybe_object(block.data)
                found = (_state(event.get("response")) if event is not None else None) or found
        return found
    document = maybe_object(body)
    if document is None:  # truncated: the name is the first member
        name = _FIRST_ID.match(body)
        document = None if name is None else {"id": name[1].decode("ascii", "replace")}
    return _state(document)


def _state(response: Any) -> ResponseState | None:
    if not isinstance(response, dict):
        return None
    name = _text(response.get("id"))
    return ResponseState(
        id=name if name is not None and 0 < len(name) <= _LONGEST_NAME else None,
        status=_text(response.get("status")),
        model=_text(response.get("model")),
        service_tier=_text(response.get("service_tier")),
        usage=maybe_usage(response.get("usage")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
