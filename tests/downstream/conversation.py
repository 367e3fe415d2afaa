"""A WebSocket whose turns are read, between two ends in memory, and the frames that pass there."""

import json

from fakes import UPGRADE, Downstream, TunnelEnd, response
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import FrameProtocol

from openai_proxy.downstream.contract import TurnRules
from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.record import Inspection
from openai_proxy.policies.bodies.read_body import ReadBody
from openai_proxy.policies.chains import compose
from openai_proxy.policies.usage.note_errors import NoteErrors
from openai_proxy.policies.usage.read_usage import ReadUsage

USAGE = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}


def sent(message, fin=True, opcode=1):
    """Return a client's frame."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


def server_frames(*events):
    """Return a server's frames."""
    return b"".join(Frame(Opcode.TEXT, json.dumps(each).encode()).serialize(mask=False) for each in events)


def create(**fields):
    return sent({"type": "response.create", "model": "m", **fields})


def created(name="r1", **fields):
    return {"type": "response.created", "response": {"id": name}, **fields}


def completed(name="r1", kind="response.completed", usage=USAGE, **fields):
    return {"type": kind, "response": {"id": name, "usage": usage}, **fields}


class Judge:
    """A stage that refuses, or waits, as the test says; keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.errors = []
        self.waits = []

    async def __call__(self, request, forward):
        self.asked.append(json.loads(request.body))
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        if self.waits and (waiting := self.waits.pop(0)) is not None:
            await waiting
        return await forward(request)


async def nothing(request):
    return ProxyResponse(200, b"OK", [], WholeBody(b""))


async def send(request):
    return await request.turn.send()


class Conversation:
    """A WebSocket whose turns are read; `far` is the upstream's end."""

    def __init__(self, endpoint="responses", is_strict=True, early=b"", **rules):
        self.far = TunnelEnd()

        async def forward(request):
            request.exchange.inspection = Inspection(is_strict, endpoint)
            request.exchange.upstream = "default"
            return response(self.far, (b"Upgrade", b"websocket"), status=101, reason=b"Switching")

        self.downstream = Downstream(forward)
        self.judge, self.models, self.quota = Judge(), Judge(), Judge()
        clock = self.downstream.clock.seconds
        self.buffered = BufferedBytes(rules.pop("buffered_bytes", 1 << 20))
        reading = [ReadBody(1 << 20, buffered=self.buffered), NoteErrors(), ReadUsage(True, clock)]
        self.downstream.site.turns = TurnRules(
            compose([self.judge, *reading], send),
            compose([self.judge, *reading], send),
            compose([self.models], nothing),
            compose([self.quota], nothing),
            self.buffered,
            **{"message_bytes": 10_000} | rules,
        )
        self.client = self.downstream.connect()
        self._reader = FrameProtocol(client=True, extensions=[])
        assert self.client.send(UPGRADE + early).startswith(b"HTTP/1.1 101")

    def send(self, *frames):
        self.client.channel.dataReceived(b"".join(frames))

    @property
    def up(self):
        """What the upstream has got since the last look."""
        data = b"".join(self.far.written)
        self.far.written.clear()
        return data

    @property
    def down(self):
        """What the client has got since the last look: events, and the codes of close frames."""
        self._reader.receive_bytes(self.client.transport.take())
        found = []
        for frame in self._reader.received_frames():
            if frame.opcode == 8:
                found.append(frame.payload[0])
            elif frame.opcode == 1:
                found.append(json.loads(frame.payload))
        return found

    @property
    def turns(self):
        """The turns that have ended: model, status, outcome, tokens."""
        return [
            (
                each.model,
                each.status,
                each.outcome.value,
                None if each.usage is None else each.usage.total_tokens,
            )
            for each in self.downstream.published
            if each.turn is not None
        ]
