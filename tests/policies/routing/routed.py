"""The stage that routes, over upstreams whose answers a test writes."""

import json

import fakes
from fakes import Body, ReadyBody, outcome_of
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.upstream_errors import UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.policies.routing.health import UpstreamHealth
from openai_proxy.policies.routing.route import Route
from openai_proxy.policies.routing.table import RoutingTable, Upstream

A = Upstream("a", "http://a/v1", key=b"sk-a")
B = Upstream("b", "http://b/v1", priority=1)
REFUSED = UpstreamUnreachable(kind="refused", sent="no")
RESET = UpstreamUnreachable(kind="reset", sent="yes")
STALE = UpstreamUnreachable(kind="reset", sent="stale")
LATE = UpstreamTimeout(kind="timeout_first_byte", sent="yes")
BAD_TLS = UpstreamTLSError(kind="tls", sent="no", may_heal=False)
SDK = [(b"x-stainless-retry-count", b"0")]
IDEMPOTENT = [(b"Idempotency-Key", b"1")]
CHAT = {"model": "big", "messages": []}
STREAM = (b"Content-Type", b"text/event-stream; charset=utf-8")
JSON = (b"content-type", b"application/json")


def error(code):
    return json.dumps({"error": {"code": code, "type": "t", "message": "m"}}).encode()


NOT_FOUND = error("model_not_found")


def answer(status, body=b"", *headers):
    """Return an answer that is all there, or one whose body never comes."""
    return ProxyResponse(status, b"", list(headers), Body() if body is None else ReadyBody(body, sized=False))


class Kept:
    """An upload that is small enough to be kept."""

    rewindable = True

    def rewind(self):
        return True


class Routed:
    """The stage, its clock, and the answers of each upstream; `requests` are what they got."""

    def __init__(self, upstreams=(A, B), models=(), **options):
        self.clock = Clock()
        self.answers = {upstream.name: [] for upstream in upstreams}
        self.requests = []
        self.health = UpstreamHealth(upstreams)
        self.probed = []
        self.stage = Route(
            RoutingTable(upstreams, models),
            self.health,
            probe=lambda upstream: self.probed.append(upstream.name),
            clock=self.clock.seconds,
            wall_clock=self.clock.seconds,
            timers=self.clock,
            draw=lambda: 0.5,
            **options,
        )

    async def forward(self, request):
        self.requests.append(request)
        request.exchange.attempts += 1
        script = self.answers[request.route.name]
        step = script.pop(0) if script else answer(200)
        if isinstance(step, Exception):
            raise step
        return step

    def start(
        self,
        document=None,
        headers=(),
        body=None,
        method=b"POST",
        target=b"/x",
        endpoint="chat/completions",
        exchange=None,
        streaming=False,
        **fields,
    ):
        self.exchange = exchange or fakes.exchange(endpoint=endpoint, streaming=streaming)
        if document is not None:
            body = json.dumps(document).encode()
        request = ProxyRequest(
            method=method,
            target=target,
            headers=[(b"Authorization", b"Bearer client"), *headers],
            body=body,
            exchange=self.exchange,
            document=document,
            credential=b"client",
            **fields,
        )
        return Deferred.fromCoroutine(self.stage(request, self.forward))

    def ask(self, **kwargs):
        """Return (status or the error's class, names of the upstreams asked)."""
        self.requests.clear()
        result = self.result = outcome_of(self.start(**kwargs))
        shown = type(result) if isinstance(result, Exception) else result.status
        return shown, "".join(request.route.name for request in self.requests)
