"""Messages between supervisor and workers over a socket pair.

A message is a name and a value, pickled: both ends are this program, run by the
same user. Some messages are one-way (`send`), others are requests (`request`).
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

_RESPONSE = "response"


class LinkLost(Exception):
    """The other end is gone."""


class Refused(Exception):
    """The other end answered with an error; the message is its one line."""


class Link(Int32StringReceiver):
    """One end of the connection.

    `on_message` are the handlers of one-way messages by name; `on_request` those of
    requests, which return a value or a Deferred. An exception in a handler
    becomes `Refused` at the other end. `lost` is called once, when the other
    end is gone.
    """

    MAX_LENGTH = 1 << 30
    transport: Any

    def __init__(
        self,
        on_message: Mapping[str, Callable[[Any], object]],
        on_request: Mapping[str, Callable[[Any], Any]],
        lost: Callable[[], object],
    ) -> None:
        self._on_message = on_message
        self._on_request = on_request
        self._lost = lost
        self._numbers = itertools.count(1)
        self._open: dict[int, Deferred[Any]] = {}
        self.is_lost = False

    def send(self, name: str, value: Any = None) -> None:
        """Send a one-way message; does nothing if the other end is gone."""
        if not self.is_lost:
            self._write(name, 0, value)

    def send_now(self, name: str, value: Any = None) -> None:
        """Send a one-way message, and write it to the socket before returning."""
        if not self.is_lost:
            self._write(name, 0, value)
            self._flush()

    def request(self, name: str, value: Any = None) -> Deferred[Any]:
        """Fire with the answer; fails with Refused or LinkLost. If it is cancelled, the answer is dropped."""
        answer: Deferred[Any] = Deferred()
        if self.is_lost:
            answer.errback(LinkLost())
            return answer
        number = next(self._numbers)
        self._open[number] = answer
        self._write(name, number, value)
        self._flush()
        return answer

    def _write(self, name: str, number: int, value: Any) -> None:
        self.sendString(pickle.dumps((name, number, value), pickle.HIGHEST_PROTOCOL))

    def _flush(self) -> None:
        """Write the buffered bytes without waiting for the next turn of the reactor."""
        write = getattr(self.transport, "doWrite", None)
        if write is not None and not self.transport.disconnecting:
            write()

    def stringReceived(self, string: bytes) -> None:
        name, number, value = pickle.loads(string)  # noqa: S301  # from this program itself, over a socket pair
        if name == _RESPONSE:
            self._answered(number, *value)
        elif number:
            answer = maybeDeferred(self._on_request[name], value)
            answer.addCallbacks(lambda result: (result, None), lambda failure: (None, _line(failure)))
            answer.addCallback(lambda outcome: self._reply(number, outcome))
        else:
            self._on_message[name](value)

    def _reply(self, number: int, outcome: tuple[Any, str | None]) -> None:
        if not self.is_lost:
            self._write(_RESPONSE, number, outcome)
            self._flush()

    def _answered(self, number: int, result: Any, refusal: str | None) -> None:
        answer = self._open.pop(number, None)
        if answer is None:
            return  # the caller has received LinkLost
        if refusal is None:
            answer.callback(result)
        else:
            answer.errback(Refused(refusal))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        waiting, self._open = self._open, {}
        for answer in waiting.values():
            answer.errback(LinkLost())
        self._lost()


class LinkFactory:
    """Gives an adopted connection its link."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, address: Any) -> Protocol:
        return self._link

    def doStart(self) -> None:
        """Do nothing; the reactor calls this."""

    doStop = doStart


def _line(failure: Failure) -> str:
    """Return an error as one line: its message, or its type if it has none."""
    return " ".join(str(failure.value).split()) or type(failure.value).__name__
