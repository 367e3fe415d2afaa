"""One connection to Redis that never makes anybody wait.

Shared by whatever keeps state there; what is kept is the callers' affair.
A call fails at once while Redis is away and after a deadline where it is
slow, so that every caller can go on without it.
"""

from __future__ import annotations

import importlib.util
import math
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..logs import logger
from .redis_login import Command, connect, cut, greet, redis_endpoint
from .redis_url import RedisAddress

_CODE = re.compile(r"[A-Z]+\b")
"""What an error of Redis begins with: `READONLY`, `OOM`, `NOPERM`."""


def _code(refusal: BaseException | None) -> str:
    """Return what kind of refusal it is: the words behind its code may quote what was sent."""
    code = _CODE.match(str(refusal))
    return code[0] if code else "without a code"


class RedisAway(Exception):
    """Redis is not there, or not in time: go on without it."""


class RedisClient:
    """Commands to one Redis server over one pipelined connection.

    States: stopped (before `start`, after `stop`), away (connecting, or
    waiting to), connected, stalled (connected, but an answer is overdue:
    calls fail at once until one comes; after a second the connection is
    abandoned, which leads to away).

    A command in flight is never cancelled: its answer is awaited and
    dropped, or the connection goes; answers cannot shift. Who talks
    nonsense is left, and asked again as one that is away.

    `deadline_s` bounds each call. Raises ModuleNotFoundError if txredisapi
    is not installed.
    """

    RETRY_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)
    ABANDON_AFTER_S = 1.0
    SETTLED_AFTER_S = 1.0
    """A connection that lasted so long was none of a row of failures."""
    TELL_REFUSALS_EVERY_S = 60.0
    """A Redis that is full refuses a command of every request."""

    _log = logger(__name__)

    def __init__(
        self, reactor: Any, address: RedisAddress, *, deadline_s: float = 0.05, ca_pem: bytes | None = None
    ) -> None:
        if importlib.util.find_spec("txredisapi") is None:
            raise ModuleNotFoundError("Redis needs the extra: pip install 'twisted-openai-proxy[redis]'")
        self._reactor = reactor
        self._address = address
        self._endpoint = redis_endpoint(reactor, address, ca_pem)
        self._deadline_s = deadline_s
        self._protocol: Any = None
        self._stalled = False
        self._failures = 0
        self._told = ""
        self._told_kinds: set[str] = set()
        self._told_refusal_at = -math.inf
        self._loss: Failure | None = None
        self._loop: Deferred[None] | None = None
        self._early: list[Deferred[None]] | None = None

    @property
    def connected(self) -> bool:
        """True while calls are sent: logged in, and no answer overdue."""
        return self._protocol is not None and not self._stalled

    def start(self) -> None:
        """Begin connecting, and keep connected until `stop`. Returns at once."""
        if self._loop is None:
            self._early = []
            self._loop = Deferred.fromCoroutine(self._keep_connected())
            self._loop.addErrback(self._on_loop_end)

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

        Fails with RedisAway at once while not connected and `deadline_s`
        after the call at the latest, with txredisapi's ResponseError where
        Redis refuses the command, which the log is told. May be cancelled: the reply is dropped,
        or given to `late`, as is one that comes after the deadline.
        Calls during the first attempt to connect wait for its outcome, as
        long: a daemon's first requests are served as its later ones. Once
        one has waited in vain, no other does.
        """
        if self._early is not None:
            return Deferred.fromCoroutine(self._call_early(self._early, args, late))
        if self._protocol is None or self._stalled:
            return fail(RedisAway())
        return self._send(self._protocol, self._deadline_s, args, late)

    def post(self, *args: bytes | str | int | float) -> None:
        """Send one command behind those under way, without regard to its reply; nothing while away.

        Unlike a call it is sent while an answer is overdue: it may undo what that command does.
        """
        if self._protocol is not None:
            self._protocol.execute_command(*args).addErrback(lambda _: None)

    async def _call_early(
        self, early: list[Deferred[None]], args: Command, late: Callable[[Any], None] | None
    ) -> Any:
        attempted: Deferred[None] = Deferred()
        early.append(attempted)
        attempted.addTimeout(self._deadline_s, self._reactor, lambda *_: self._first_attempt_over())
        await attempted
        if self._protocol is None:
            raise RedisAway
        return await self.call(*args, late=late)

    def _first_attempt_over(self) -> None:
        early, self._early = self._early, None
        for attempted in early or ():
            if not attempted.called:
                attempted.callback(None)

    def _send(
        self,
        protocol: Any,
        deadline_s: float,
        args: Command,
        late: Callable[[Any], None] | None = None,
    ) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        reply = protocol.execute_command(*args)
        timer = self._reactor.callLater(deadline_s, self._look_once_more, protocol, reply, result)
        reply.addBoth(partial(self._replied, timer, result, late))
        return result

    def _replied(
        self, timer: Any, result: Deferred[Any], late: Callable[[Any], None] | None, reply: Any
    ) -> None:
        self._stalled = False
        if timer.active():
            timer.cancel()
        if result.called:
            if late is not None and not isinstance(reply, Failure):
                late(reply)
            return
        if isinstance(reply, Failure):
            if not self._is_refusal(reply):
                reply = Failure(RedisAway())
            elif self._protocol is not None:  # else it is the log-in that is refused
                self._tell_refusal(reply)
        result.callback(reply)

    @staticmethod
    def _is_refusal(failure: Failure) -> bool:
        return type(failure.value).__name__ in ("ResponseError", "ScriptDoesNotExist")

    def _look_once_more(self, protocol: Any, reply: Deferred[Any], result: Deferred[Any]) -> None:
        """Judge after the sockets were read again: timers go first in a turn of the reactor.

        A burst of requests may keep this process busy for the whole
        deadline while the answer lies there.
        """
        self._reactor.callLater(0, self._overdue, protocol, reply, result)

    def _overdue(self, protocol: Any, reply: Deferred[Any], result: Deferred[Any]) -> None:
        if reply.called:
            return
        if protocol is self._protocol:
            self._stalled = True
        abandon = self._reactor.callLater(self.ABANDON_AFTER_S, cut, protocol)
        reply.addBoth(lambda _: abandon.cancel() if abandon.active() else None)
        if not result.called:
            result.errback(RedisAway())

    async def _keep_connected(self) -> None:
        while True:
            try:
                protocol = await self._connect()
            except CancelledError:
                raise
            except ConnectingCancelledError:  # what an endpoint says when `stop` cancels it
                raise CancelledError from None
            except Exception as error:
                self._tell("away", self._kind(error))
                self._first_attempt_over()
            else:
                if self._told != "talking nonsense":
                    self._tell("connected")
                await self._use(protocol)
            delay_s = self.RETRY_DELAYS_S[min(self._failures, len(self.RETRY_DELAYS_S) - 1)]
            self._failures += 1
            await deferLater(self._reactor, delay_s)

    def _kind(self, error: Exception) -> str:
        """Say why there is no connection; Redis's own words may quote what it was sent."""
        if self._is_refusal(Failure(error)):
            return f"it refuses the log-in: {_code(error)}"
        if not isinstance(error, RedisAway):
            return type(error).__name__
        if self._loss is None:
            return "no answer"
        return "TLS failed" if type(self._loss.value).__module__ == "OpenSSL.SSL" else "it hung up"

    def _tell(self, state: str, kind: str = "") -> None:
        """Log a change of state, once, and each further reason for it, once."""
        if state != self._told:
            self._told_kinds.clear()
        elif kind in self._told_kinds:
            return
        self._told = state
        self._told_kinds.add(kind)
        address = str(self._address)
        if kind:
            self._log.warn("Redis at {address} is {state} ({kind})", address=address, state=state, kind=kind)
        else:
            self._log.info("connected to Redis at {address}", address=address)

    def _tell_refusal(self, refusal: Failure) -> None:
        """Log that Redis refuses commands, now and then: the callers go on without it."""
        now = time.monotonic()
        if now - self._told_refusal_at < self.TELL_REFUSALS_EVERY_S:
            return
        self._told_refusal_at = now
        self._log.warn(
            "Redis at {address} refuses commands ({code}); requests go on without it",
            address=str(self._address),
            code=_code(refusal.value),
        )

    def _settled(self) -> None:
        self._failures = 0
        self._tell("connected")

    async def _connect(self) -> Any:
        """Return a connection that has logged in and answered a PING."""
        self._loss = None
        protocol = await connect(self._endpoint, self._talks_nonsense, self._lost)
        try:
            await greet(self._address, partial(self._send, protocol, self.ABANDON_AFTER_S))
        except BaseException:
            cut(protocol)
            raise
        return protocol

    def _talks_nonsense(self, protocol: Any, error: Exception) -> None:
        self._tell("talking nonsense", type(error).__name__)
        cut(protocol)

    def _lost(self, reason: Failure) -> None:
        self._loss = reason

    async def _use(self, protocol: Any) -> None:
        gone = protocol.whenDisconnected()
        self._stalled = False
        self._protocol = protocol
        self._first_attempt_over()
        settling = self._reactor.callLater(self.SETTLED_AFTER_S, self._settled)
        try:
            await gone
        except CancelledError:
            gone = protocol.whenDisconnected()
            cut(protocol)
            await gone
            raise
        finally:
            self._protocol = None
            if settling.active():
                settling.cancel()

    def _on_loop_end(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the connection to Redis is given up", failure)
