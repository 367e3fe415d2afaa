"""A Redis client that never makes a request wait long.

Shared by all stores in Redis. A call fails at once while Redis cannot be
reached, and after a deadline if it is slow, so that every caller can continue
without it.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..logs import logger
from .redis_connection import (
    FAULTS,
    Command,
    RedisAway,
    RedisConnection,
    RedisRefused,
    connect,
    redis_endpoint,
)
from .redis_url import RedisAddress

__all__ = ["RedisAway", "RedisClient", "RedisRefused"]

_CONNECTED = ""
"""Shown if there is no reason why Redis cannot be reached."""
_DEMOTED = frozenset(("READONLY", "MASTERDOWN"))
"""What a replica says, which may have been the master when the connection was made: its address may lead to another
server now, although it keeps its old connections."""


class RedisClient:
    """Commands to one Redis server over one pipelined connection, which is reconnected when it is lost.

    States: stopped (before `start`, after `stop`), away (connecting, or
    waiting to), connected, stalled (connected, but a reply is overdue:
    calls fail at once until one comes). See RedisConnection.

    `deadline_s` bounds each call. Raises ModuleNotFoundError without hiredis.
    """

    RETRY_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)
    LOGIN_DEADLINE_S = 1.0
    """The deadline of each command of the log-in."""
    SETTLED_AFTER_S = 1.0
    """A connection that lasts this long resets the back-off."""
    REPORT_REFUSALS_EVERY_S = 60.0
    """The interval of log lines about refused commands: a full Redis refuses one for every request."""

    RENEW_EVERY_S = 10.0
    """The interval at which the connection to a server that takes no writes is made anew."""

    _log = logger(__name__)

    def __init__(
        self, reactor: Any, address: RedisAddress, *, deadline_s: float = 0.05, ca_pem: bytes | None = None
    ) -> None:
        if importlib.util.find_spec("hiredis") is None:
            raise ModuleNotFoundError("Redis needs the extra: pip install 'twisted-openai-proxy[redis]'")
        self._reactor = reactor
        self._address = address
        self._log_ins = [address]
        """The credentials to log in with: those that worked last, or are newest, first."""
        self._endpoint = redis_endpoint(reactor, address, ca_pem)
        self._deadline_s = deadline_s
        self._connection: RedisConnection | None = None
        self._failures = 0
        self._reported: set[str] = set()
        self._refusal_reported_at = -math.inf
        self._renewed_at = -math.inf
        self._loop: Deferred[None] | None = None
        self._early: list[Deferred[None]] | None = None

    @property
    def connected(self) -> bool:
        """Whether calls are sent: logged in, and no reply overdue."""
        return self._connection is not None and self._connection.usable

    def start(self) -> None:
        """Begin connecting, and keep connected until `stop`. Returns at once."""
        if self._loop is None:
            self._early = []
            self._loop = Deferred.fromCoroutine(self._keep_connected())
            self._loop.addErrback(self._on_loop_end)

    def log_in_with(self, address: RedisAddress) -> None:
        """Log in with the password of `address`, which is the same account, from now on.

        Those before are tried too if Redis refuses the new ones: whoever changes
        a password may change it here or at Redis first.
        """
        if address == self._log_ins[0]:
            return
        self._log_ins = [address, self._log_ins[0]]
        connection = self._connection
        if connection is not None:
            done = Deferred.fromCoroutine(connection.log_in(address, self.LOGIN_DEADLINE_S))
            done.addErrback(self._on_new_log_in_failure)

    def _on_new_log_in_failure(self, failure: Failure) -> None:
        """The connection goes on as it is: a refused AUTH leaves the one before in force."""
        if isinstance(failure.value, RedisRefused):
            self._log_in_refused()
            self._log.warn(
                "Redis at {address} refuses the new log-in ({code}); the one before stays in use",
                address=str(self._address),
                code=failure.value.code,
            )

    def _log_in_refused(self) -> None:
        self._log_ins.append(self._log_ins.pop(0))

    def stop(self) -> Deferred[None]:
        """Close the connection; the Deferred fires when it is closed. Idempotent."""
        loop, self._loop = self._loop, None
        self._first_attempt_over()
        done: Deferred[None] = Deferred()
        if loop is None:
            done.callback(None)
        else:
            loop.addBoth(lambda _: done.callback(None))
            loop.cancel()
        return done

    def call(
        self, *args: bytes | str | int | float, late: Callable[[Any], None] | None = None
    ) -> Deferred[Any]:
        """Send one command; fire with its reply: bytes, int, None or a list of them.

        Fails with RedisAway at once while not connected, and `deadline_s`
        after the call at the latest; with RedisRefused, which is logged, if
        Redis refuses the command. If the call is cancelled, or its deadline
        passes, a reply that comes later is dropped, or passed to `late`.

        Calls during the first attempt to connect wait for its outcome, at most
        `deadline_s`, so that a daemon's first requests are served like its
        later ones. Once one has waited in vain, no other waits.
        """
        if self._early is not None:
            return Deferred.fromCoroutine(self._call_early(self._early, args, late))
        connection = self._connection
        if connection is None or not connection.usable:
            return fail(RedisAway())
        return connection.call(args, self._deadline_s, late).addErrback(self._on_failure, connection)

    def post(self, *args: bytes | str | int | float) -> None:
        """Send one command after those in flight, and ignore its reply; do nothing while not connected.

        Unlike a call it is sent while a reply is overdue: it may undo what the overdue command does.
        """
        if self._connection is not None:
            self._connection.call(args, self._deadline_s).addErrback(lambda _: None)

    async def _call_early(
        self, early: list[Deferred[None]], args: Command, late: Callable[[Any], None] | None
    ) -> Any:
        attempted: Deferred[None] = Deferred()
        early.append(attempted)
        attempted.addTimeout(self._deadline_s, self._reactor, lambda *_: self._first_attempt_over())
        await attempted
        if self._connection is None:
            raise RedisAway
        return await self.call(*args, late=late)

    def _first_attempt_over(self) -> None:
        early, self._early = self._early, None
        for attempted in early or ():
            if not attempted.called:
                attempted.callback(None)

    def _on_failure(self, failure: Failure, connection: RedisConnection) -> Failure:
        """Log from time to time that Redis refuses commands; the callers continue without it."""
        if not isinstance(failure.value, RedisRefused):
            return failure
        now = self._reactor.seconds()
        if now - self._refusal_reported_at >= self.REPORT_REFUSALS_EVERY_S:
            self._refusal_reported_at = now
            self._log.warn(
                "Redis at {address} refuses commands ({code}); requests go on without it",
                address=str(self._address),
                code=failure.value.code,
            )
        if failure.value.code == "NOAUTH":  # no command will succeed until the next log-in
            connection.abort("it has forgotten the log-in")
        elif failure.value.code in _DEMOTED and now - self._renewed_at >= self.RENEW_EVERY_S:
            self._renewed_at = now
            connection.abort("it takes no writes")
        return failure

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._connect_and_use()
            except (CancelledError, ConnectingCancelledError):  # the second is what endpoints raise
                raise CancelledError from None
            except RedisRefused as refused:
                self._log_in_refused()
                self._report(f"it refuses the log-in: {refused.code}")
            except RedisAway as away:
                self._report(str(away))
            except Exception as error:
                self._report(type(error).__name__)
            self._first_attempt_over()
            delay_s = self.RETRY_DELAYS_S[min(self._failures, len(self.RETRY_DELAYS_S) - 1)]
            self._failures += 1
            await deferLater(self._reactor, delay_s)

    async def _connect_and_use(self) -> None:
        """Return when a working connection is lost; raise the reason if there is none, or its error."""
        connection = await connect(self._reactor, self._endpoint)
        try:
            await connection.log_in(self._log_ins[0], self.LOGIN_DEADLINE_S)
            await self._use(connection)
        finally:
            connection.abort("it is not used any more")
            await connection.when_lost()
        if connection.closed in FAULTS:
            raise RedisAway(connection.closed)

    async def _use(self, connection: RedisConnection) -> None:
        if self._reported.isdisjoint(FAULTS):
            self._report(_CONNECTED)
        settling = self._reactor.callLater(self.SETTLED_AFTER_S, self._settled)
        self._connection = connection
        self._first_attempt_over()
        try:
            await connection.when_lost()
        finally:
            self._connection = None
            if settling.active():
                settling.cancel()

    def _settled(self) -> None:
        self._failures = 0
        self._report(_CONNECTED)

    def _report(self, reason: str) -> None:
        """Log that Redis is connected, or why it is not: each change, and each new reason, once."""
        if reason in self._reported:
            return
        if reason == _CONNECTED or _CONNECTED in self._reported:
            self._reported.clear()
        self._reported.add(reason)
        if reason == _CONNECTED:
            self._log.info("connected to Redis at {address}", address=str(self._address))
        else:
            self._log.warn("Redis at {address} is away ({reason})", address=str(self._address), reason=reason)

    def _on_loop_end(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the connection to Redis is given up", failure)
