"""Several upstreams as the client of one proxy sees them."""

import json

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.core.errors import NoUpstreamAvailable, UpstreamUnreachable
from openai_proxy.core.exchange import Exchange
from openai_proxy.core.routing import ModelRoute, RoutingTable, Upstream
from openai_proxy.core.upstream_health import UpstreamHealth
from openai_proxy.messages import ProxyRequest, ProxyResponse
from openai_proxy.stages.list_aliases import ListAliases, with_aliases
from openai_proxy.stages.route import Route

A = Upstream("a", "http://a/v1", key=b"sk-a")
B = Upstream("b", "http://b/v1", priority=1)
REFUSED = UpstreamUnreachable(kind="refused", sent="no")
RESET = UpstreamUnreachable(kind="reset", sent="yes")


class Body(Protocol):
    """A body that is there at once, or with `data` None never."""

    def __init__(self, data=b""):
        self.data, self.length, self.discarded = data, None, False

    def deliverBody(self, protocol):
        protocol.makeConnection(self)
        if self.data is not None:
            protocol.dataReceived(self.data)
            protocol.connectionLost(Failure(ResponseDone()))

    def discard(self):
        self.discarded = True

    stopProducing = discard


def answer(status, body=b"", *headers):
    return ProxyResponse(status, b"", list(headers), Body(body))


class World:
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
            draw=lambda: 0.5,
            **options,
        )

    async def forward(self, request):
        self.requests.append(request)
        script = self.answers[request.route.name]
        step = script.pop(0) if script else answer(200)
        if isinstance(step, Exception):
            raise step
        return step

    def start(self, document=None, headers=(), body=None, method=b"POST", target=b"/x", **fields):
        self.exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/x")
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
        results = []
        self.start(**kwargs).addBoth(results.append)
        result = results[0]
        shown = type(result.value) if isinstance(result, Failure) else result.status
        return shown, "".join(request.route.name for request in self.requests)


def test_each_upstream_gets_its_own_key():
    """An upstream with a key never sees another's; one without gets what authentication chose."""
    world = World()
    world.answers["a"] = [REFUSED]
    assert world.ask() == (200, "ab")
    first, second = world.requests
    assert (first.headers, first.credential) == ([(b"Authorization", b"Bearer sk-a")], b"sk-a")
    assert (second.headers, second.credential) == ([(b"Authorization", b"Bearer client")], b"client")
    assert (first.route, second.route) == (A, B)
    assert world.exchange.retry_reasons == ["failover"]


def test_an_upstream_without_a_key_gets_nobody_elses():
    """An empty key takes the credentials away: no header of them is left."""
    world = World([Upstream("local", "http://local/v1", key=b"")])
    assert world.ask(headers=[(b"X-Other", b"1")]) == (200, "local")
    assert world.requests[0].headers == [(b"X-Other", b"1")]
    assert world.requests[0].credential == b""


@pytest.mark.parametrize(
    ("first", "options", "kwargs", "expected"),
    [
        (REFUSED, {}, {}, (200, "ab")),
        (REFUSED, {"failover_on_status": False}, {}, (200, "ab")),
        (REFUSED, {}, {"body": object()}, (UpstreamUnreachable, "a")),
        (RESET, {}, {}, (UpstreamUnreachable, "a")),
        (answer(503), {}, {}, (200, "ab")),
        (answer(503), {"failover_on_status": False}, {}, (503, "a")),
        (answer(503), {}, {"headers": [(b"x-stainless-retry-count", b"0")]}, (503, "a")),
        (answer(503, b"", (b"x-should-retry", b"false")), {}, {}, (503, "a")),
        (answer(503), {}, {"body": object()}, (503, "a")),
        (answer(429, b'{"error":{"code":"insufficient_quota"}}'), {}, {}, (200, "ab")),
        (answer(404), {}, {}, (404, "a")),
    ],
)
def test_failover(first, options, kwargs, expected):
    """Another upstream is asked where this one failed before anything went to the client."""
    world = World(**options)
    world.answers["a"] = [first]
    assert expected == world.ask(**kwargs)


def test_the_last_failure_is_the_answer():
    """Where all fail each is asked once, and the last answer passes."""
    world = World()
    first = answer(503)
    world.answers.update(a=[first], b=[answer(500)])
    assert world.ask() == (500, "ab")
    assert first.body.discarded
    world.answers.update(a=[REFUSED], b=[REFUSED])
    assert world.ask() == (UpstreamUnreachable, "ab")


def test_a_dead_upstream_is_left_alone_until_a_probe_reaches_it():
    """After three failures requests go elsewhere, all of them; once it listens again it serves again."""
    world = World()
    world.answers["a"] = [REFUSED] * 3
    assert [world.ask()[1] for _ in range(5)] == ["ab", "ab", "ab", "b", "b"]
    assert world.probed == ["a"]
    world.clock.advance(3600.0)
    assert [world.ask()[1] for _ in range(2)] == ["b", "b"]
    world.health.probed(A, True, world.clock.seconds())
    assert [world.ask()[1] for _ in range(2)] == ["a", "a"]


def test_a_broken_upstream_is_tried_again_without_a_probe():
    """Who answered with errors is asked again a second later, by one request."""
    world = World()
    world.answers["a"] = [answer(500) for _ in range(3)]
    assert [world.ask()[1] for _ in range(4)] == ["ab", "ab", "ab", "b"]
    assert world.probed == []
    world.clock.advance(1.0)
    assert [world.ask()[1] for _ in range(2)] == ["a", "a"]


def test_a_dead_upstream_is_tried_where_there_is_no_other():
    """With nothing to lose a request goes although a probe has not got through; not after an answer."""
    world = World()
    world.answers["a"] = [REFUSED] * 4
    for _ in range(3):
        world.ask()
    world.clock.advance(1.0)
    world.answers["b"] = [answer(503)]
    assert world.ask() == (503, "b")
    world.answers["b"] = [REFUSED]
    assert world.ask() == (UpstreamUnreachable, "ba")


def test_a_limited_key_cools_as_long_as_it_is_told():
    """A 429's key rests, for SDKs that retry by themselves too."""
    world = World()
    world.answers["a"] = [answer(429, b"{}", (b"retry-after", b"20"))]
    sdk = [(b"x-stainless-retry-count", b"0")]
    assert [world.ask(headers=sdk) for _ in range(2)] == [(429, "a"), (200, "b")]
    world.clock.advance(20)
    assert world.ask() == (200, "a")


def test_no_upstream_left():
    """With every circuit open the client is told when to come back."""
    world = World([A])
    world.answers["a"] = [REFUSED] * 3
    for _ in range(3):
        world.ask()
    assert world.ask() == (NoUpstreamAvailable, "")
    assert [entry["state"] for entry in world.stage.describe()] == ["open"]


def test_a_further_attempt_is_never_refused_by_the_circuit():
    """A client gets what the upstream said last, not that a circuit opened between its attempts."""
    world = World([A])
    world.answers["a"] = [REFUSED] * 3
    for _ in range(3):
        world.ask()
    world.answers["a"] = [answer(500)]
    request = ProxyRequest(
        method=b"POST",
        target=b"/x",
        headers=[],
        body=None,
        exchange=Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/x", attempts=1),
    )
    results = []
    Deferred.fromCoroutine(world.stage(request, world.forward)).addBoth(results.append)
    assert results[0].status == 500


def test_models_are_mapped():
    """A mapped model goes to its upstream under its name there; all other bytes stay."""
    world = World(models=[ModelRoute("fast", "b", "gpt-4o-mini"), ModelRoute("gpt-*", "a")])
    assert world.ask(document={"model": "fast", "x": 1}, headers=[(b"content-length", b"0")]) == (200, "b")
    request = world.requests[0]
    assert request.body == b'{"model": "gpt-4o-mini", "x": 1}'
    assert request.document == {"model": "gpt-4o-mini", "x": 1}
    assert (b"content-length", b"%d" % len(request.body)) in request.headers
    assert world.ask(document={"model": "gpt-9"}) == (200, "a")
    assert world.requests[0].body == b'{"model": "gpt-9"}'
    world.answers["b"] = [REFUSED]
    assert world.ask(document={"model": "fast"}) == (UpstreamUnreachable, "b")


LOOKED_UP = [ModelRoute("fast", "b", "org/mini"), ModelRoute("house-*", "b", "big"), ModelRoute("m", "b")]


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/models/fast", ("b", b"/models/org%2Fmini")),
        (b"HEAD", b"/models/fa%73t?x=1", ("b", b"/models/org%2Fmini?x=1")),
        (b"GET", b"/models/house-1", ("b", b"/models/big")),
        (b"GET", b"/models/m%20", ("a", b"/models/m%20")),
        (b"GET", b"/models/m", ("b", b"/models/m")),
        (b"GET", b"/models/other", ("a", b"/models/other")),
        (b"GET", b"/models", ("a", b"/models")),
        (b"DELETE", b"/models/fast", ("b", b"/models/fast")),
        (b"GET", b"/files/fast", ("a", b"/files/fast")),
    ],
)
def test_a_model_is_looked_up_where_it_is_served(method, target, expected):
    """Under its name there; but nothing is deleted under a name that its client did not say."""
    world = World(models=LOOKED_UP)
    assert world.ask(method=method, target=target)[0] == 200
    request = world.requests[0]
    assert expected == (request.route.name, request.target)


def test_a_tenants_own_key_goes_only_where_it_belongs():
    """Before the upstream's key at its origin; another origin's key replaces it."""
    mine = Upstream("mine", "http://a/v1", key=b"sk-a", kept_keys=frozenset([b"client"]))
    other = Upstream("other", "http://b/v1", key=b"sk-b", priority=1)
    world = World([mine, other])
    world.answers["mine"] = [REFUSED]
    assert world.ask()[0] == 200
    assert [request.credential for request in world.requests] == [b"client", b"sk-b"]
    assert [request.headers for request in world.requests] == [
        [(b"Authorization", b"Bearer client")],
        [(b"Authorization", b"Bearer sk-b")],
    ]


def test_a_client_that_left_while_a_429_was_read_frees_the_connection():
    """Nothing goes on, and nothing stays open."""
    world = World()
    limited = answer(429, None)
    world.answers["a"] = [limited]
    failures = []
    done = world.start()
    done.addErrback(failures.append)
    done.cancel()
    assert failures[0].check(CancelledError)
    assert limited.body.discarded
    assert len(world.requests) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"object":"list","data":[]}', ["fast"]),
        (b'{"data":[{"id":"m"}],"object":"list"}', ["m", "fast"]),
        (b' {"data": [ {"id":"fast"} ] }', ["fast"]),
    ],
)
def test_aliases_stand_beside_the_upstreams_models(body, expected):
    """Clients that list the models find the aliases; a name is listed once."""
    changed = json.loads(with_aliases(body, ["fast"]))
    assert expected == [item["id"] for item in changed["data"]]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data":1}', b'{"data":[1]}', b'{"data":{}}', b'{"data":""}', b"\xff"]
)
def test_what_is_no_list_passes(body):
    """An answer of another shape stays as it is."""
    assert with_aliases(body, ["fast"]) == body


@pytest.mark.parametrize(
    ("method", "target", "status", "filters"),
    [
        (b"GET", b"/models", 200, 1),
        (b"GET", b"/models?x=1", 200, 1),
        (b"GET", b"/models", 401, 0),
        (b"GET", b"/models/m", 200, 0),
        (b"POST", b"/models", 200, 0),
    ],
)
def test_only_the_list_of_models_is_touched(method, target, status, filters):
    """Everything else passes as it came."""
    seen, results = [], []

    async def forward(request):
        seen.append(request)
        return answer(status)

    exchange = Exchange(started=0.0, timestamp=0.0, method="GET", path="/v1/models")
    headers = [(b"accept-encoding", b"gzip")]
    request = ProxyRequest(method=method, target=target, headers=headers, body=None, exchange=exchange)
    Deferred.fromCoroutine(ListAliases(["fast"])(request, forward)).addCallback(results.append)
    assert filters == len(results[0].filters)
    if filters:
        assert seen[0].headers == [(b"Accept-Encoding", b"identity")]
        body_filter = results[0].filters[0]
        assert body_filter.feed(b'{"data":') + body_filter.feed(b"[]}") == b""
        assert b'"fast"' in body_filter.finish()


@pytest.mark.parametrize("body", [None, b"a form", b'{"model":"other"}'])
def test_the_model_of_a_deployment_is_mapped_in_the_path(body):
    """An alias in the path goes where its entry says, under the upstream's name; the body stays as it is."""
    world = World(models=[ModelRoute("house", "b", "org/gpt")])
    document = {"model": "other"} if body and body[:1] == b"{" else None
    asked = {"target": b"/deployments/house/chat/completions?x=1", "path_model": "house", "body": body}
    assert world.ask(**asked, **({"document": document} if document else {})) == (200, "b")
    (request,) = world.requests
    assert request.target == b"/deployments/org%2Fgpt/chat/completions?x=1"
    assert request.body in (body, b'{"model": "other"}')
