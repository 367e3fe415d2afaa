"""Limits shared by several processes and machines, in Redis.

While Redis cannot be reached, each process limits by itself, with an embedded
store.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import LoopingCall

from ...logs import logger
from ...net.redis_client import RedisClient
from .rules import Levels, Limits
from .script import SCRIPT
from .store import Admission, BucketStore

KEPT_IN_REDIS = "redis"


class RedisStore:
    """A `LimitStore` over Redis, with `embedded` taking over while Redis cannot be reached.

    The slot of a running request is a lease of `lease_s`, renewed three times
    in that time, so that a crashed machine does not keep its slots. Whoever
    made the client starts and stops it; `start` and `stop` here control the
    renewal. `failed` counts the admissions that Redis did not decide.
    """

    _log = logger(__name__)

    def __init__(
        self,
        client: RedisClient,
        embedded: BucketStore,
        reactor: Any,
        *,
        prefix: str = "openai-proxy:limits",
        lease_s: float = 30.0,
    ) -> None:
        self._client = client
        self._embedded = embedded
        self._prefix = prefix
        self._lease_s = lease_s
        self.failed = 0
        self._held: dict[str, set[str]] = {}
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = reactor

    def start(self) -> None:
        """Begin to renew leases. Idempotent."""
        if not self._renewal.running:
            self._renewal.start(self._lease_s / 3, now=False).addErrback(
                lambda failure: self._log.failure("leases are no longer renewed", failure)
            )

    def stop(self) -> None:
        """Stop renewing leases. Idempotent."""
        if self._renewal.running:
            self._renewal.stop()

    async def admit(self, key: str, limits: Limits, model_tokens: float, slot: str) -> Admission:
        reserved = limits.reservation(model_tokens)

        def comes_late(reply: Any) -> None:
            """Return what Redis charged for a request that was decided otherwise meanwhile, or has ended."""
            if reserved and isinstance(reply, list) and reply[:1] == [1]:
                self._client.post(
                    *self._finishing(key, limits, -reserved, "")
                )  # the slot is free, or has been taken anew

        try:
            reply = await self._client.call(
                *self._arguments("admit", key, limits, reserved, slot), late=comes_late
            )
            admitted, requests, left, running = reply
            levels = Levels(float(requests), float(left), int(running))
        except CancelledError:
            self._free_slot(key, limits, slot)
            raise
        except Exception:  # not reachable, or refusing: the client has logged it
            self.failed += 1
            self._free_slot(key, limits, slot)
            return await self._embedded.admit(key, limits, model_tokens, slot)
        if admitted and limits.concurrent_requests is not None:
            self._held.setdefault(key, set()).add(slot)
        return Admission(key, limits, bool(admitted), levels, reserved, slot, KEPT_IN_REDIS)

    def finish(self, admission: Admission, model_tokens: float) -> None:
        if admission.kept_in != KEPT_IN_REDIS:
            self._embedded.finish(admission, model_tokens)
            return
        self._forget_slot(admission)
        difference = model_tokens - admission.reserved
        limits = admission.limits
        if limits.concurrent_requests is None and not difference:
            return
        if not self._client.connected:
            self._embedded.settle(admission, model_tokens)
            self._free_slot(admission.key, limits, admission.slot)
            return
        # if this call is lost, nothing stays in Redis: the lease expires by itself
        self._client.post(*self._finishing(admission.key, limits, difference, admission.slot))

    def cancel(self, admission: Admission) -> None:
        if admission.kept_in != KEPT_IN_REDIS:
            self._embedded.cancel(admission)
            return
        self._forget_slot(admission)
        if admission.limits:
            # also sent while a reply is overdue: it undoes what was admitted
            arguments = ("cancel", admission.key, admission.limits, admission.reserved, admission.slot)
            self._client.post(*self._arguments(*arguments))

    def _forget_slot(self, admission: Admission) -> None:
        """Stop renewing the lease of a slot."""
        slots = self._held.get(admission.key)
        if slots is not None:
            slots.discard(admission.slot)
            if not slots:
                del self._held[admission.key]

    def settle(self, admission: Admission, model_tokens: float) -> None:
        """Charge what was used beyond the reservation, or give back the rest."""
        difference = model_tokens - admission.reserved
        if admission.kept_in != KEPT_IN_REDIS or not self._client.connected:
            self._embedded.settle(admission, model_tokens)
        elif difference:
            self._client.post(*self._finishing(admission.key, admission.limits, difference, ""))

    def _free_slot(self, key: str, limits: Limits, slot: str) -> None:
        """Free a slot that Redis may have given, or may be about to give.

        It is unknown whether tokens were charged: a late reply returns them, or
        the refill does.
        """
        if limits.concurrent_requests is not None:
            self._client.post(*self._finishing(key, limits, 0.0, slot))

    def _finishing(
        self, key: str, limits: Limits, difference: float, slot: str
    ) -> tuple[str | bytes | int, ...]:
        return self._arguments("finish", key, limits, difference, slot)

    def _arguments(
        self, operation: str, key: str, limits: Limits, cost: float, slot: str
    ) -> tuple[str | bytes | int, ...]:
        def number(limit: int | None) -> int:
            return -1 if limit is None else limit

        return (
            *self._command(key),
            operation,
            number(limits.requests_per_minute),
            number(limits.model_tokens_per_minute),
            number(limits.concurrent_requests),
            repr(float(cost)),
            slot,
            repr(self._lease_s),
        )

    def _command(self, key: str) -> tuple[str | bytes | int, ...]:
        # braces keep both keys of one client on one node of a cluster
        base = f"{self._prefix}:{{{key}}}"
        return "EVAL", SCRIPT, 2, base, base + ":running"

    def _renew(self) -> None:
        for key, slots in self._held.items():
            self._client.call(*self._command(key), "renew", repr(self._lease_s), *slots).addErrback(
                lambda _: None
            )
