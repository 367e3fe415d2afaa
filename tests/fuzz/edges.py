"""Both edges joined in memory: a client's bytes in, an upstream's bytes out, and back."""

from __future__ import annotations

from typing import Any

from fakes import Downstream, Transport
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from openai_proxy.upstream.agent import UpstreamAgent
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.client import UpstreamClient
from openai_proxy.upstream.connection import UpstreamConnection
from openai_proxy.upstream.forward import UpstreamForward, destination
from openai_proxy.upstream.states import Event, State
from openai_proxy.upstream.tls import ClientTLS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(Transport):
    """One upstream connection: all that was sent on it stays in `sent`."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self.connection = connection
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def writeSequence(self, data: Any) -> None:
        self.sent += b"".join(data)

    def abortConnection(self) -> None:
        if self.ended is None:
            self.ended = "aborted"


class Agent(UpstreamAgent):
    """An agent whose connections are Wires, made at once."""

    wires: list[Wire]

    def _connect(self, origin: Any, key: Any, *more: Any) -> Deferred[UpstreamConnection]:
        connection = UpstreamConnection(self, key, self._timeouts, self._clock)
        wire = Wire(connection)
        connection.transport = wire
        connection._sending.write = wire.write
        connection.state.on(Event.READY, 0.0)
        self._busy.add(connection)
        self.wires.append(wire)
        return succeed(connection)


class Edges:
    """A proxy without stages; what its upstream receives, and what its clients do."""

    def __init__(self) -> None:
        self.downstream = Downstream()
        clock = self.downstream.clock
        self.agent = Agent(clock, UpstreamTimeouts(), ClientTLS(), clock.seconds)
        self.agent.wires = []
        forward = UpstreamForward(
            UpstreamClient(self.agent), destination("default", "http://up:80/v1"), {}, clock.seconds
        )
        self.downstream.api.forward = forward

    def ask(self, pieces: list[bytes]) -> tuple[list[bytes], bytes]:
        """Send a client's bytes; answer each whole request with OK. Returns what went up, by connection, and what came back."""
        self.agent.wires.clear()
        connection = self.downstream.connect()
        back = b""
        for piece in pieces:
            back += connection.send(piece)
            while self._answer():
                back += connection.transport.take()
        connection.lose()
        sent = [wire.sent for wire in self.agent.wires]
        self._forget()
        return sent, back

    def _answer(self) -> bool:
        """Answer a request that was sent whole."""
        for wire in self.agent.wires:
            asked = wire.connection
            if (
                wire.ended is None
                and asked.state.at in (State.SENDING, State.WAITING, State.ANSWERING)
                and not asked._sending.is_uploading
            ):
                asked.dataReceived(OK)
                return True
        return False

    def _forget(self) -> None:
        for wire in self.agent.wires:
            if wire.connection.state.at is not State.CLOSED:
                wire.connection.connectionLost(Failure(ConnectionDone()))
        self.downstream.published.clear()

    def answer(self, method: bytes, pieces: list[bytes], ended: bool) -> tuple[bytes, str | None, bool]:
        """Ask by `method`, and answer with the bytes of an upstream.

        Returns what the client received, how its connection was ended, and
        whether the upstream's may bring another answer.
        """
        self.agent.wires.clear()
        connection = self.downstream.connect()
        connection.send(b"%b /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" % method)
        (wire,) = self.agent.wires
        for piece in pieces:
            if wire.ended is None:
                wire.connection.dataReceived(piece)
        pooled = len(self.agent._idle) > 0
        if ended or wire.ended is not None:
            wire.connection.connectionLost(Failure(ConnectionDone()))
        self.downstream.clock.pump([0.02] * 2)
        received, how = connection.transport.take(), connection.ended
        connection.lose()
        self._forget()
        return received, how, pooled
