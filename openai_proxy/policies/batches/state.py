"""Read the names, states and usage of batches from an answer. Pure."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from ...exchange.usage import Usage
from ...wire.documents import maybe_object
from ..usage.objects import maybe_usage

_FINAL = frozenset(("completed", "failed", "expired", "cancelled"))
_LONGEST_NAME = 256
_MOST_REQUESTS = 1 << 40


@frozen
class BatchState:
    """The parts of a `batch` object that affect cost; None for missing ones."""

    id: str
    status: str | None = None
    model: str | None = None
    input_file: str | None = None
    requests: int | None = None
    completed: int | None = None
    """How many of its requests were answered."""
    usage: Usage | None = None

    @property
    def is_final(self) -> bool:
        """Whether the batch has ended."""
        return self.status in _FINAL

    @property
    def share(self) -> float:
        """Return the completed share of the batch, from 0 to 1; 1 if the answer does not say."""
        if self.status == "failed" or self.completed == 0:
            return 0.0
        if not self.requests or self.completed is None:
            return 1.0
        return min(1.0, self.completed / self.requests)


def states_in(body: bytes) -> list[BatchState]:
    """Read the batch, or the list of batches, in the whole body of an answer; empty if there is none. O(n)."""
    document = maybe_object(body)
    if document is None:
        return []
    listed = document.get("data")
    entries = listed if isinstance(listed, list) else [document]
    return [state for state in map(_maybe_state, entries) if state is not None]


def _maybe_state(batch: Any) -> BatchState | None:
    name = _text(batch.get("id")) if isinstance(batch, dict) else None
    if not name:
        return None
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    completed = _count(counts.get("completed"))
    usage = maybe_usage(batch.get("usage"))
    if usage is not None and not usage.total_tokens and completed != 0:
        usage = None  # servers that do not count say zeros
    return BatchState(
        id=name,
        status=_text(batch.get("status")),
        model=_text(batch.get("model")),
        input_file=_text(batch.get("input_file_id")),
        requests=_count(counts.get("total")),
        completed=completed,
        usage=usage,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_REQUESTS else None


def per_request(usage: Usage, requests: int) -> tuple[Usage, Usage]:
    """Return the usage of each of that number of requests, rounded down, and the remainder.

    A price may depend on the size of one request, which the sum over a batch
    does not show.
    """
    if requests <= 1 or usage.kinds is not None:
        return usage, Usage()
    given, given_left = divmod(usage.input_tokens, requests)
    made, made_left = divmod(usage.output_tokens, requests)
    cached, cached_left = divmod(usage.cached_tokens, requests)
    reasoned, reasoned_left = divmod(usage.reasoning_tokens, requests)
    left = Usage(given_left, made_left, cached_left, reasoned_left)
    return Usage(given, made, cached, reasoned), left
