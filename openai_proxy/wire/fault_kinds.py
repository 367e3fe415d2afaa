"""The kinds of faults in the settings: `status:429`, `disconnect_after:3`, `stall_s:10`, `slow:4`. Pure."""

from __future__ import annotations

import re

from attrs import frozen

_KIND = re.compile(r"(status|disconnect_after|stall_s|slow):([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_WHOLE = frozenset(("status", "disconnect_after"))


@frozen
class Fault:
    """One entry of `[[replay.faults]]`, parsed."""

    name: str
    """`status`, `disconnect_after`, `stall_s` or `slow`."""
    value: float


def parse_fault(kind: str) -> Fault:
    """Parse `status:429`, `disconnect_after:3`, `stall_s:10` or `slow:2.5`; raise ValueError otherwise."""
    found = _KIND.fullmatch(kind)
    if found is None:
        raise ValueError("a kind is status:CODE, disconnect_after:EVENTS, stall_s:SECONDS or slow:FACTOR")
    value = float(found[2])
    if found[1] in _WHOLE and "." in found[2]:
        raise ValueError(f"{found[1]} takes a whole number")
    if found[1] == "status" and not 400 <= value <= 599:
        raise ValueError("status takes a code from 400 to 599")
    return Fault(found[1], value)
