"""The caller's position in a trace, from its request's headers. Pure.

As W3C Trace Context has it. `tracestate` is vendors' free text and goes to
the collector: what in it looks like a key goes nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..redaction import scrubbed

_TRACESTATE_LIMIT = 512


def trace_headers(pairs: Iterable[tuple[bytes, bytes]] | None) -> dict[str, str] | None:
    """Return `traceparent` and `tracestate` if the request has one parent, else None.

    Whether the values are well formed the SDK's propagator decides; a
    malformed parent starts a new trace there. Several parents are none.
    """
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in pairs or ():
        # the length first: most headers are not these, and nothing is copied for them
        if len(name) == 11 and name.lower() == b"traceparent":
            parents.append(value)
        elif len(name) == 10 and name.lower() == b"tracestate":
            states.append(value)
    if len(parents) != 1:
        return None
    found = {"traceparent": parents[0].decode("latin-1")}
    state = b",".join(states).decode("latin-1")
    if state and len(state) <= _TRACESTATE_LIMIT and state.isascii() and scrubbed(state) == state:
        found["tracestate"] = state
    return found
