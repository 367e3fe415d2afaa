"""The interface of a store of limits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .rules import Levels, Limits


class Admission(NamedTuple):
    """A store's decision about one request, and what must be given back later.

    `admitted` False: nothing was charged. `slot` names the request among the
    running ones of its key.
    """

    key: str
    limits: Limits
    admitted: bool
    levels: Levels
    reserved: float
    slot: str
    kept_in: str = "embedded"


class LimitStore(Protocol):
    """The levels of all keys. A decision is atomic: it charges every limit or none."""

    async def admit(self, key: str, limits: Limits, model_tokens: float, slot: str) -> Admission:
        """Charge one request of `key` reserving `model_tokens`, or return the levels."""
        ...

    def finish(self, admission: Admission, model_tokens: float) -> None:
        """Free the slot of an admitted request and settle its reservation. Never fails; call once."""
        ...

    def cancel(self, admission: Admission) -> None:
        """Take an admission back: as if the request had never come. Never fails; call it instead of `finish`."""
        ...

    def settle(self, admission: Admission, model_tokens: float) -> None:
        """Charge what was used beyond the reservation, or give back the rest. Never fails."""
        ...


class BucketStore(LimitStore, Protocol):
    """The limits of one machine: a shared store falls back on them."""
