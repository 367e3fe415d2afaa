"""A cache stage between clients and an upstream that are led by hand."""

import json

import fakes
from fakes import Body
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.cache.cache import Cache
from openai_proxy.policies.cache.memory import MemoryStore
from openai_proxy.policies.cache.recording_memory import RecordingMemory
from openai_proxy.policies.cache.request_memo import Answered
from openai_proxy.policies.cache.rules import CacheRules, TimesToLive, default_rules

JSON = (b"Content-Type", b"application/json")
SSE = (b"Content-Type", b"text/event-stream")


class Origin(Body):
    """One upstream call: answered, fed and ended by hand (its body and transport in one)."""

    def __init__(self, request):
        super().__init__()
        self.request = request
        self.cancels = []
        self.head = Deferred(self.cancels.append)

    def answer(self, *headers, status=200, length=None):
        self.length = length
        if length is not None:
            headers = (*headers, (b"Content-Length", b"%d" % length))
        self.head.callback(ProxyResponse(status, b"OK", list(headers), self))

    def end(self, error=None):
        self.protocol.connectionLost(Failure(error or ResponseDone()))

    def serve(self, body, *headers):
        """Answer whole."""
        self.answer(*(headers or (JSON,)), length=len(body))
        self.feed(body)
        self.end()


class Client:
    """One request: what came of it."""

    def __init__(self, stage, request, forward):
        self.exchange = request.exchange
        self.response = self.error = self.end = None
        self.chunks = []
        self._running = Deferred.fromCoroutine(stage(request, forward))
        self._running.addCallbacks(self._relay, self._failed)

    def _relay(self, response):
        self.response = response
        response.body.deliverBody(self)

    def _failed(self, failure):
        self.error = failure.value

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.chunks.append(data)

    def connectionLost(self, reason):
        self.end = reason.type
        self.exchange.end(Outcome.COMPLETE, 0.0)

    def leave(self):
        """Do what the web edge does when the client is gone."""
        self.exchange.end(Outcome.CLIENT_GONE, 0.0)
        if self.response is None:
            self._running.cancel()
        else:
            self.response.body.discard()

    @property
    def body(self):
        return b"".join(self.chunks) if self.end is ResponseDone else None

    def header(self, name):
        return [value for key, value in self.response.headers if key.lower() == name]


class CachedUpstream:
    """A cache over an upstream that answers when the test says so."""

    def __init__(self, store=None, shared=False, max_bytes=1_000_000, buffered=None, others=None):
        self.clock = Clock()
        self.store = store or MemoryStore(max_bytes, self.clock.seconds)
        rules = CacheRules(default_rules(TimesToLive()))
        self.answered = Answered()
        self.served_as = {}
        """What models are called upstream."""
        self.stage = Cache(
            self.store,
            rules,
            b"https://api.example/v1",
            self.clock.seconds,
            shared,
            self.answered,
            lambda model: self.served_as.get(model, b""),
            memory=buffered and RecordingMemory(buffered),
            others=others,
        )
        self.calls = []

    def ask(self, body=None, *headers, tenant="t", credential=b"sk", endpoint="embeddings", method=b"POST"):
        document = {"model": "m", "input": "x"} if body is None else body
        now = self.clock.seconds()
        exchange = fakes.exchange(
            started=now,
            timestamp=1000.0 + now,
            path="/v1/" + endpoint,
            endpoint=endpoint,
            credential_id=tenant,
        )
        request = ProxyRequest(
            method=method,
            target=b"/" + endpoint.encode(),
            headers=list(headers),
            body=json.dumps(document).encode(),
            document=document,
            exchange=exchange,
            credential=credential,
        )

        async def forward(request):
            call = Origin(request)
            self.calls.append(call)
            return await call.head

        return Client(self.stage, request, forward)


def cache_control(value):
    return (b"Cache-Control", value)
