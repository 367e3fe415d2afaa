"""Deliver alerts to a URL: signed and retried, without delaying any request.

Signed as OpenAI signs its webhooks (the Standard Webhooks specification), so
that `client.webhooks.unwrap` of its SDKs verifies them. A failed delivery is
logged, without the path and query of the URL, which may be secret.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import treq
from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..logs import logger

log = logger("openai_proxy.cost")

TIMEOUT_S = 10.0
WAITS_S = (1.0, 5.0, 30.0, 120.0)
"""The delay before each further attempt."""
MOST_WAITING = 100
"""Deliveries under way at once; above that number an alert is only logged."""
_ANSWER_BYTES = 64 * 1024


@frozen
class Webhook:
    """The URL for alerts, and the key that signs them."""

    url: str
    secret: bytes | None = field(default=None, repr=False)


class Deliveries:
    """Posts documents; owned by `stores.CostStores`, stopped with it.

    `post` is treq's, or a test's replacement.
    """

    def __init__(
        self,
        reactor: Any,
        wall_clock: Callable[[], float] = time.time,
        post: Callable[..., Deferred[Any]] = treq.post,
    ) -> None:
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._post = post
        self._running: set[Deferred[None]] = set()

    def deliver(self, webhook: Webhook, name: str, body: bytes) -> None:
        """Post `body`, repeatedly until it is accepted or given up; `name` identifies repeats."""
        if len(self._running) >= MOST_WAITING:
            log.warn("too many alerts wait for {host}: one is only in this log", host=_host(webhook))
            return
        delivery = Deferred.fromCoroutine(self._deliver(webhook, name, body))
        self._running.add(delivery)
        delivery.addBoth(self._delivered, delivery, webhook)

    def _delivered(self, result: Any, delivery: Deferred[None], webhook: Webhook) -> None:
        self._running.discard(delivery)
        if not isinstance(result, Failure):
            return
        if result.check(CancelledError):  # the next start does not try again
            _log_undelivered(webhook, "this proxy was stopped first")
        else:
            log.failure("an alert was not delivered", result)

    async def _deliver(self, webhook: Webhook, name: str, body: bytes) -> None:
        reason = ""
        for wait_s in (0.0, *WAITS_S):
            if wait_s:
                await deferLater(self._reactor, wait_s)
            try:
                answer = await self._post(
                    webhook.url,
                    data=body,
                    headers=self._headers(webhook, name, body),
                    allow_redirects=False,
                    timeout=TIMEOUT_S,
                    reactor=self._reactor,
                    unbuffered=True,
                )
                if 200 <= answer.code < 300:
                    await _discard(answer)
                    return
                await _discard(answer)
                reason = f"status {answer.code}"
                if answer.code == 410:
                    break  # gone for good, by the specification
            except CancelledError:
                raise
            except Exception as error:
                reason = type(error).__name__
        _log_undelivered(webhook, reason)

    def _headers(self, webhook: Webhook, name: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "openai-proxy"}
        if webhook.secret is not None:
            now = int(self._wall_clock())
            headers |= {
                "webhook-id": name,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(webhook.secret, name, now, body),
            }
        return headers

    def stop(self) -> Deferred[Any]:
        """Give up all waiting deliveries."""
        running = list(self._running)
        for delivery in running:
            delivery.cancel()
        return DeferredList(running, consumeErrors=True)


async def _discard(answer: Any) -> None:
    """Read the answer's body, at most 64 KiB of it, and drop it."""
    read = 0

    def count(data: bytes) -> None:
        nonlocal read
        read += len(data)
        if read > _ANSWER_BYTES:
            raise ValueError("the answer is too long")

    await treq.collect(answer, count)


def signature(secret: bytes, name: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature` (Standard Webhooks, "Signature scheme")."""
    signed = f"{name}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, sha256).digest()).decode()


def signing_key(secret: str) -> bytes:
    """Return the bytes of a secret: base64 after `whsec_`, otherwise the text itself. ValueError for bad base64."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def _log_undelivered(webhook: Webhook, reason: str) -> None:
    log.warn("an alert was not delivered to {host}: {reason}", host=_host(webhook), reason=reason)


def _host(webhook: Webhook) -> str:
    return urlsplit(webhook.url).hostname or "-"
