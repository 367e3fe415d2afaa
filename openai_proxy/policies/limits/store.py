"""What a store of limits does."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .rules import Levels, Limits


class Admission(NamedTuple):
    """What a store decided about one request, and what it must give back.

    `admitted` False: nothing was charged. `slot` names the request among
    the running ones of its key.
    """

    key: str
    limits: Limits
    admitted: bool
    levels: Levels
    reserved: float
    slot: str
    kept_in: str = "embedded"


class LimitStore(Protocol):
    """Levels of all keys; one decision is atomic: charged in every limit or in none."""

    async def admit(self, key: str, limits: Limits, model_tokens: float, slot: str) -> Admission:
        """Charge one request of `key` reserving `model_tokens`, or say how things stand."""
        ...

    def finish(self, admission: Admission, model_tokens: float) -> None:
        """Free the slot of an admitted request and settle its reservation. Never fails; call once."""
        ...

    def cancel(self, admission: Admission) -> None:
        """Take an admission back: as if the request had never come. Never fails; in place of `finish`."""
        ...

    def settle(self, admission: Admission, model_tokens: float) -> None:
        """Charge what was used beyond the reservation, or give back the rest. Never fails."""
        ...


class BucketStore(LimitStore, Protocol):
    """The limits of one machine: what a shared store falls back on."""
