"""What the daemon has counted so far, in the few sums that the live view draws.

Read from the families of the metrics page, of one process or of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

Buckets = dict[float, float]
"""Upper bound to how many values were at most that."""

_DURATION, _FIRST_BYTE = (
    "openai_proxy_request_duration_seconds",
    "openai_proxy_time_to_first_byte_seconds",
)


@frozen
class Figures:
    """Sums since the start."""

    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_usd: float = 0.0
    errors: dict[str, float] = field(factory=dict)
    """By outcome if that is not `complete`, otherwise by the status from 400 on."""
    duration: Buckets = field(factory=dict)
    first_byte: Buckets = field(factory=dict)


def figures_of(metrics: Iterable[Any]) -> Figures:
    """Return the figures in prometheus-client's families; others are passed over. O(samples)."""
    requests = cost_usd = 0.0
    tokens: dict[str, float] = {}
    errors: dict[str, float] = {}
    buckets: dict[str, Buckets] = {_DURATION: {}, _FIRST_BYTE: {}}
    for metric in metrics:
        if metric.name == "openai_proxy_requests":
            for sample in metric.samples:
                requests += sample.value
                kind = error_kind(sample.labels.get("outcome", ""), sample.labels.get("status", ""))
                if kind is not None:
                    errors[kind] = errors.get(kind, 0.0) + sample.value
        elif metric.name == "openai_proxy_tokens":
            for sample in metric.samples:
                kind = sample.labels.get("kind", "")
                tokens[kind] = tokens.get(kind, 0.0) + sample.value
        elif metric.name == "openai_proxy_cost_usd":
            cost_usd += sum(sample.value for sample in metric.samples)
        elif metric.name in buckets:
            found = buckets[metric.name]
            for sample in metric.samples:
                if sample.name.endswith("_bucket"):
                    bound = float(sample.labels["le"])
                    found[bound] = found.get(bound, 0.0) + sample.value
    return Figures(
        requests,
        tokens.get("input", 0.0),
        tokens.get("output", 0.0),
        cost_usd,
        errors,
        buckets[_DURATION],
        buckets[_FIRST_BYTE],
    )


def error_kind(outcome: str, status: str) -> str | None:
    """Return under which name an exchange counts as an error; None for one that is none.

    >>> error_kind("timeout", "504"), error_kind("complete", "429"), error_kind("complete", "200")
    ('timeout', '429', None)
    """
    if outcome != "complete":
        return outcome
    return status if status[:1] in ("4", "5") else None


def quantile(share: float, now: Buckets, before: Buckets) -> float | None:
    """Return the value that `share` of those counted between two looks were at most; None if there were none.

    Within a bucket by a straight line, as Prometheus does it; beyond the last
    bound that bound.
    """
    counts = sorted((bound, count - before.get(bound, 0.0)) for bound, count in now.items())
    if not counts or counts[-1][1] <= 0:
        return None
    rank = share * counts[-1][1]
    low, below = 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            if bound == float("inf"):
                return low
            inside = count - below
            return low + (bound - low) * ((rank - below) / inside if inside else 1.0)
        low, below = bound, count
    return low
