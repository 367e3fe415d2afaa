"""The URL of the mock upstream: `mock:latency_s=0.2&tokens_per_s=50&error_rate=0.01`. Pure."""

from __future__ import annotations

import math

from attrs import frozen

SCHEME = "mock:"
LONGEST_S = 3600.0
_NAMES = ("latency_s", "tokens_per_s", "error_rate")


@frozen
class MockParameters:
    """The parameters of the mock upstream."""

    latency_s: float = 0.0
    """Seconds until the head of an answer."""
    tokens_per_s: float | None = None
    """Model tokens per second of an answer; None for all at once."""
    error_rate: float = 0.0
    """The fraction of requests, 0 to 1, that gets a 500."""


def parse_mock(url: str) -> MockParameters:
    """Parse a URL that begins with `mock:`; raise ValueError, without the value, for anything else."""
    given: dict[str, float] = {}
    for item in filter(None, url[len(SCHEME) :].split("&")):
        name, _, text = item.partition("=")
        if name not in _NAMES:
            raise ValueError(f"mock: takes {', '.join(_NAMES)}, joined by '&'")
        if name in given:
            raise ValueError(f"gives {name} of mock: twice")
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{name} of mock: is no number") from None
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} of mock: must be a number from 0 on")
        given[name] = value
    if given.get("tokens_per_s") == 0:
        raise ValueError("tokens_per_s of mock: must be above 0")
    if given.get("error_rate", 0) > 1:
        raise ValueError("error_rate of mock: must be from 0 to 1")
    if given.get("latency_s", 0) > LONGEST_S:
        raise ValueError(f"latency_s of mock: must be at most {LONGEST_S:g}")
    return MockParameters(
        given.get("latency_s", 0.0), given.get("tokens_per_s"), given.get("error_rate", 0.0)
    )
