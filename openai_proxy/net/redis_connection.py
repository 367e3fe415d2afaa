"""One connection to Redis: it sends commands, and receives replies in their order.

hiredis reads and writes RESP2. `redis_client` decides when to connect.
"""

from __future__ import annotations

import re
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from .client_tls import VerifyingClient, client_context
from .host_names import ascii_host, host_endpoint
from .redis_url import RedisAddress
from .tls_failures import is_tls_failure
from .tls_wrappers import TLSClientEndpoint

CONNECT_TIMEOUT_S = 2
NOT_RESP = "it does not speak RESP"
TOO_LARGE = "its reply is too large"
FAULTS = frozenset((NOT_RESP, TOO_LARGE))
"""Why a connection is closed after a log-in, if Redis is to blame."""
Command = tuple[bytes | str | int | float, ...]

_CODE = re.compile(r"[A-Z]+\b")
_CODE_IN_SCRIPT = re.compile(r"ERR Error running script .*: -([A-Z]+)\b", re.DOTALL)
"""How Redis before 7 says it of a script."""
_INCOMPLETE = object()
"""What the reader returns until a reply is complete."""


class RedisAway(Exception):
    """Redis does not answer, or not in time: continue without it. The text says why, if that is known."""


class RedisRefused(Exception):
    """Redis refuses a command, with `code`: `READONLY`, `OOM`, `NOPERM`.

    The text after the code is not kept, because it may quote what was sent.
    """

    def __init__(self, words: str) -> None:
        code = _CODE_IN_SCRIPT.match(words) or _CODE.match(words)
        self.code = code[code.re.groups] if code else "without a code"
        super().__init__(self.code)


@define(eq=False)
class _InFlight:
    """A sent command. `timer` runs until its reply comes: first to its deadline, then to the abort."""

    result: Deferred[Any]
    size_bytes: int
    late: Callable[[Any], None] | None
    timer: Any = None


class RedisConnection(Protocol):
    """Sends commands without waiting, and gives each reply to the oldest command in flight.

    States: open; stalled (a reply is overdue; `usable` is false until one
    comes); closed (aborted or lost; `closed` says why).

    A sent command cannot be taken back. If its caller leaves or its deadline
    passes, its reply is still awaited and dropped, so that no reply goes to the
    wrong command. A connection that owes a reply `ABANDON_AFTER_S` after its
    deadline is aborted, as is one that sends invalid RESP, a reply to no
    command, or one above `MOST_BYTES`. Raises ModuleNotFoundError without
    hiredis.
    """

    ABANDON_AFTER_S = 1.0
    MOST_COMMANDS = 10_000
    """The most commands in flight; a further one fails."""
    MOST_BYTES = 64 * 1024 * 1024
    """The most bytes of all commands in flight together, and of one reply."""

    def __init__(self, reactor: Any) -> None:
        from hiredis import Reader, pack_command

        self._reactor = reactor
        self._reader = Reader(replyError=RedisRefused, notEnoughData=_INCOMPLETE)
        self._pack = pack_command
        self._in_flight: deque[_InFlight] = deque()
        self._sent_bytes = 0
        self._unfinished_bytes = 0
        self._stalled = False
        self._lost: list[Deferred[None]] | None = []
        self.closed: str | None = None

    @property
    def usable(self) -> bool:
        """Whether it is open with no reply overdue."""
        return self.closed is None and not self._stalled

    def call(
        self, args: Command, deadline_s: float, late: Callable[[Any], None] | None = None
    ) -> Deferred[Any]:
        """Send a command, also while stalled; fire with its reply: bytes, int, None or a list of them.

        Fails with RedisRefused, or with RedisAway when `deadline_s` has
        passed, the connection is closed or too much is in flight. A reply
        that comes after the deadline or a cancellation goes to `late`.
        """
        data: bytes = self._pack(args)  # type: ignore[arg-type]  # its stub means one of any length
        size_bytes = self._sent_bytes + len(data)
        if (
            self.closed is not None
            or len(self._in_flight) >= self.MOST_COMMANDS
            or size_bytes > self.MOST_BYTES
        ):
            return fail(RedisAway(self.closed or "too much is in flight"))
        self._sent_bytes = size_bytes
        command = _InFlight(Deferred(), len(data), late)
        command.timer = self._reactor.callLater(deadline_s, self._look_once_more, command)
        self._in_flight.append(command)
        self.transport.write(data)  # type: ignore[union-attr]  # it is connected
        return command.result

    async def log_in(self, address: RedisAddress, deadline_s: float) -> None:
        """Authenticate, choose the database and wait for the answer to a PING; raise what `call` fails with."""
        if address.password is not None:
            user = (address.username,) if address.username else ()
            await self.call(("AUTH", *user, address.password), deadline_s)
        if address.db is not None:
            await self.call(("SELECT", address.db), deadline_s)
        await self.call(("PING",), deadline_s)

    def abort(self, reason: str) -> None:
        """Close without waiting for replies. Idempotent."""
        if self.closed is None:
            self.closed = reason
            self.transport.abortConnection()  # type: ignore[union-attr]  # it is connected

    def when_lost(self) -> Deferred[None]:
        """Return a new Deferred, which fires when the connection is lost."""
        lost: Deferred[None] = Deferred()
        if self._lost is None:
            lost.callback(None)
        else:
            self._lost.append(lost)
        return lost

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        self._unfinished_bytes += len(data)
        while self.closed is None:
            try:
                reply = self._reader.gets()
            except Exception:  # ProtocolError; TypeError for a map with a list as a key; MemoryError
                self.abort(NOT_RESP)
                return
            if reply is _INCOMPLETE:
                break
            if not self._in_flight:
                self.abort(NOT_RESP)
                return
            self._unfinished_bytes = 0
            self._stalled = False
            self._settle(self._in_flight.popleft(), reply)
        if self._unfinished_bytes > self.MOST_BYTES:
            self.abort(TOO_LARGE)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is never used
        if self.closed is None:
            self.closed = "TLS failed" if is_tls_failure(reason) else "it hung up"
        while self._in_flight:
            self._settle(self._in_flight.popleft(), RedisAway(self.closed))
        lost, self._lost = self._lost, None
        for each in lost or ():
            each.callback(None)

    def _settle(self, command: _InFlight, reply: Any) -> None:
        self._sent_bytes -= command.size_bytes
        if command.timer.active():
            command.timer.cancel()
        refused = isinstance(reply, Exception)
        if not command.result.called:
            command.result.errback(reply) if refused else command.result.callback(reply)
        elif command.late is not None and not refused:
            command.late(reply)

    def _look_once_more(self, command: _InFlight) -> None:
        """Decide after the sockets have been read again, because timers run first in a turn of the reactor.

        A burst of requests may keep this process busy for the whole deadline
        although the reply is already there.
        """
        command.timer = self._reactor.callLater(0, self._overdue, command)

    def _overdue(self, command: _InFlight) -> None:
        self._stalled = True
        command.timer = self._reactor.callLater(self.ABANDON_AFTER_S, self.abort, "no answer")
        if not command.result.called:
            command.result.errback(RedisAway("no answer"))


def redis_endpoint(reactor: Any, address: RedisAddress, ca_pem: bytes | None = None) -> IStreamClientEndpoint:
    """Return the endpoint of `address`; `rediss` verifies against `ca_pem` or the system's store."""
    host = ascii_host(address.host)
    plain = host_endpoint(reactor, host, address.port, CONNECT_TIMEOUT_S)
    if not address.tls:
        return plain
    trusted = ssl.PEM_cert_to_DER_cert(ca_pem.decode("ascii")) if ca_pem else b""
    context = client_context(trusted=trusted, trusts_system=not ca_pem)
    return TLSClientEndpoint(plain, lambda: VerifyingClient(context, host), reactor.callLater)


async def connect(reactor: Any, endpoint: IStreamClientEndpoint) -> RedisConnection:
    """Return a new connection that has not logged in; raise what the endpoint fails with."""
    connection = RedisConnection(reactor)
    factory = Factory.forProtocol(lambda: connection)
    factory.noisy = False
    await endpoint.connect(factory)
    return connection
