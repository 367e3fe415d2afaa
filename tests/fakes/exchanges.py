"""Exchanges, requests and responses by hand, and what stages stand around: a `forward`."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from fakes.bodies import Body, ReadyBody, Sink
from fakes.results import outcome_of, through
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.record import Exchange

JSON = (b"Content-Type", b"application/json")
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def exchange(**fields):
    """Return a running exchange with these fields; it started at 0."""
    begun = {"started": 0.0, "timestamp": 0.0, "method": "POST", "path": "/v1/x"}
    made = Exchange(**{name: fields.pop(name, value) for name, value in begun.items()})
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def response(body, *headers, status=200, reason=b"OK"):
    """Return a ProxyResponse; its Content-Length follows from the body."""
    length = [] if body.length is None else [(b"Content-Length", b"%d" % body.length)]
    return ProxyResponse(status, reason, [*headers, *length], body)


def chat_chunk(delta, finish=None, index=0, **more):
    """Return a chunk of a chat's stream; a delta that is a string is its content."""
    if isinstance(delta, str):
        delta = {"content": delta}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        **more,
    }


class Recorder:
    """The innermost `forward`: keeps each request, answers `ok` once its body is whole."""

    def __init__(self):
        self.requests = []
        self.bodies = []

    async def __call__(self, request):
        self.requests.append(request)
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = await body.read(1 << 30)
        self.bodies.append(body or b"")
        return response(ReadyBody(b"ok"))


class Forward:
    """An innermost `forward`: keeps each request, and gives `given` for it, or raises it."""

    def __init__(self, given=None):
        self.requests = []
        self.given = given

    async def __call__(self, request):
        self.requests.append(request)
        request.exchange.attempts += 1
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


class Uploads(Forward):
    """An innermost `forward` that takes each request's body, into `sent`, before it gives `given`."""

    def __init__(self, given=None):
        super().__init__(given)
        self.sent = Sink()

    async def __call__(self, request):
        await request.body.startProducing(self.sent)
        return await super().__call__(request)


class HeldForward:
    """An innermost `forward` whose `calls` are Deferreds that wait for the test.

    `requests` are those of the calls, `cancelled` those that were given up.
    """

    def __init__(self):
        self.requests = []
        self.calls = []
        self.cancelled = []

    async def __call__(self, request):
        request.exchange.attempts += 1
        self.requests.append(request)
        self.calls.append(Deferred(lambda _: self.cancelled.append(request)))
        return await self.calls[-1]

    def answer(self, number=-1, body=None, **head):
        """Answer the call of this number; return the body of the response, by default one that is fed by hand."""
        body = body or Body()
        self.calls[number].callback(response(body, **head))
        return body


def refusal(stage, request):
    """Return the exception with which a stage refuses a request; None if it goes on."""
    forward = Forward()
    outcome = outcome_of(through(stage, request, forward))
    assert forward.requests == ([] if outcome else [request])
    return outcome
