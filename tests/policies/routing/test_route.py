"""Several upstreams as the client of one proxy sees them."""

import json

import fakes
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.exchange.errors import UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.record import Exchange
from openai_proxy.policies.routing.attempt import FIRST_EVENT_S
from openai_proxy.policies.routing.health import UpstreamHealth
from openai_proxy.policies.routing.list_models import ListModels
from openai_proxy.policies.routing.route import Route
from openai_proxy.policies.routing.table import ModelRoute, RoutingTable, Upstream
from openai_proxy.wire.model_list import changed_list

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


class Body(Protocol):
    """A body that is there at once, or with `data` None never."""

    whole = None

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

    def pauseProducing(self):
        """All of it is there at once."""

    resumeProducing = pauseProducing


def answer(status, body=b"", *headers):
    return ProxyResponse(status, b"", list(headers), Body(body))


class Kept:
    """An upload that is small enough to be kept."""

    rewindable = True

    def rewind(self):
        return True


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
        self.exchange = exchange or Exchange(
            started=0.0, timestamp=0.0, method="POST", path="/v1/x", endpoint=endpoint, streaming=streaming
        )
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
        result = self.result = results[0]
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
    ("first", "kwargs", "expected"),
    [
        (REFUSED, {}, "ab"),
        (REFUSED, {"headers": SDK}, "ab"),
        (BAD_TLS, {}, "ab"),
        (REFUSED, {"body": Kept()}, "ab"),
        (REFUSED, {"body": object()}, "a"),
        (REFUSED, {"endpoint": "batches"}, "ab"),
        (REFUSED, {"upgrade": True, "method": b"GET"}, "ab"),
        (STALE, {}, "a"),
        (RESET, {}, "a"),
        (RESET, {"headers": IDEMPOTENT}, "ab"),
        (RESET, {"method": b"GET", "endpoint": "files"}, "ab"),
        (LATE, {}, "a"),
        (LATE, {"headers": IDEMPOTENT}, "a"),
    ],
)
def test_failures_that_go_elsewhere(first, kwargs, expected):
    """Another upstream is asked if the first cannot have acted on it, or may act twice; never after a time-out."""
    world = World()
    world.answers["a"] = [first]
    shown, asked = world.ask(**kwargs)
    assert asked == expected
    assert shown == (200 if expected == "ab" else type(first))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 501, 502, 503, 504, 520, 524, 529])
@pytest.mark.parametrize(
    ("kwargs", "hints", "moves"),
    [
        ({}, [], {"always"}),
        ({"headers": SDK}, [], {"always"}),
        ({"document": CHAT, "headers": SDK}, [], {"always"}),
        ({"headers": SDK}, [(b"retry-after", b"3600")], {"always"}),
        ({}, [(b"x-should-retry", b"false")], set()),
        ({"body": object()}, [], set()),
        ({"body": Kept(), "endpoint": "audio/transcriptions"}, [], {"always"}),
        ({"upgrade": True, "method": b"GET"}, [], set()),
        ({"method": b"GET", "endpoint": "files"}, [], {"always"}),
        ({"endpoint": "batches"}, [], {429, 503}),
        ({"endpoint": "responses", "document": {"model": "m", "background": True}}, [], {429, 503}),
        ({"endpoint": "files", "headers": IDEMPOTENT}, [], {"always"}),
    ],
)
def test_statuses_that_go_elsewhere(status, kwargs, hints, moves):
    """For every client, on the causes of a retry; a creation only if nothing was created; a handshake never."""
    world = World()
    world.answers["a"] = [answer(status, b"{}", *hints)]
    expected = (200, "ab") if moves & {"always", status} else (status, "a")
    assert expected == world.ask(**kwargs)


@pytest.mark.parametrize("hints", [[], [(b"x-should-retry", b"false")]])
def test_a_spent_quota_is_one_accounts_affair(hints):
    """Another upstream has another account."""
    world = World()
    world.answers["a"] = [answer(429, error("insufficient_quota"), *hints)]
    assert world.ask(headers=SDK) == (200, "ab")


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 413, 422])
def test_an_answer_of_the_first_upstream_passes(status):
    """What it says about the request, it says for all; `model_not_found` too."""
    world = World()
    world.answers["a"] = [answer(status, NOT_FOUND)]
    assert world.ask() == (status, "a")


def test_the_last_failure_is_the_answer():
    """If all fail each is asked once, and the last answer passes; one of theirs goes before one of ours."""
    world = World()
    first = answer(503)
    world.answers.update(a=[first], b=[answer(500)])
    assert world.ask() == (500, "ab")
    assert first.body.discarded
    world.answers.update(a=[REFUSED], b=[REFUSED])
    assert world.ask() == (UpstreamUnreachable, "ab")
    first = answer(503)
    world.answers.update(a=[first], b=[REFUSED])
    assert world.ask() == (503, "ab")
    assert not first.body.discarded


def test_further_attempts_are_spread_and_go_over_to_nobody():
    """Each upstream is gone over to once in an exchange: a retry asks the one that failed less often, and no more."""
    world = World()
    world.answers.update(a=[answer(500) for _ in range(9)], b=[answer(500) for _ in range(9)])
    asked = [world.ask()[1]]
    asked += [world.ask(exchange=world.exchange)[1] for _ in range(3)]
    assert asked == ["ab", "a", "b", "a"]
    assert world.exchange.retry_reasons == ["failover"]


def test_one_exchange_counts_once():
    """However often one exchange is repeated, it takes no upstream from anybody."""
    world = World()
    world.answers.update(a=[answer(500) for _ in range(20)], b=[answer(500) for _ in range(20)])
    world.ask(document=CHAT)
    for _ in range(20):
        world.ask(document=CHAT, exchange=world.exchange)
    world.answers.update(a=[], b=[])
    assert world.ask(document=CHAT) == (200, "a")


# ---- one sick model


def test_a_sick_model_goes_elsewhere_and_takes_nobody_along():
    """After some failures its requests go to the other upstream first; other models stay."""
    world = World()
    world.answers["a"] = [answer(500) for _ in range(5)]
    assert [world.ask(document=CHAT)[1] for _ in range(7)] == ["ab"] * 5 + ["b"] * 2
    assert world.ask(document={"model": "small"}) == (200, "a")
    assert world.ask(endpoint="files") == (200, "a")
    world.clock.advance(1.0)
    assert [world.ask(document=CHAT)[1] for _ in range(2)] == ["a", "a"]


@pytest.mark.parametrize("failure", [answer(500), REFUSED, answer(429, b"{}", (b"retry-after", b"300"))])
def test_nothing_is_refused_if_there_is_nothing_else_to_ask(failure):
    """A lone upstream is asked however sick it seems, and its word passes."""
    world = World([A])
    for _ in range(20):
        world.answers["a"] = [failure]
        shown, asked = world.ask(document=CHAT)
        assert asked == "a"
        assert shown == (type(failure) if isinstance(failure, Exception) else failure.status)
    assert world.ask(document=CHAT) == (200, "a")


def test_a_model_that_is_sick_everywhere_is_asked_everywhere():
    """Both circuits are open: each upstream is asked once, and its own error passes."""
    world = World()
    for _ in range(20):
        world.answers.update(a=[answer(500)], b=[answer(500)])
        assert world.ask(document=CHAT)[0] == 500
    world.answers.update(a=[answer(500)], b=[])
    assert world.ask(document=CHAT) == (200, "ab")


@pytest.mark.parametrize(
    "refusal", [answer(404, NOT_FOUND), answer(404), answer(401), answer(403), answer(400, NOT_FOUND)]
)
def test_a_backup_that_cannot_is_no_substitute(refusal):
    """The first upstream's answer passes, not that the backup does not know the model or the key."""
    world = World()
    first = answer(500, b"first")
    world.answers.update(a=[first], b=[refusal])
    assert world.ask(document=CHAT) == (500, "ab")
    assert world.result is first
    assert not first.body.discarded
    assert refusal.body.discarded or refusal.body.data is not None
    # nor is it asked in vain a moment later
    world.answers["a"] = [answer(502)]
    assert world.ask(document=CHAT) == (502, "a")
    assert world.ask(document={"model": "other"}) == (200, "a")


def test_a_backup_that_cannot_is_no_substitute_for_an_open_circuit():
    """The first upstream is asked again, once, although its circuit is open."""
    world = World()
    for _ in range(5):
        world.answers.update(a=[answer(500)], b=[])
        world.ask(document=CHAT)
    world.answers.update(a=[answer(500, b"again")], b=[answer(404, NOT_FOUND)])
    assert world.ask(document=CHAT) == (500, "ba")
    world.answers.update(a=[], b=[])
    assert world.ask(document=CHAT) == (200, "a")


@pytest.mark.parametrize("refusal", [(404, NOT_FOUND), (404,), (401,), (400, NOT_FOUND)])
@pytest.mark.parametrize("failing", [500, 429])
def test_a_further_attempt_leaves_out_a_backup_that_cannot(failing, refusal):
    """Although it has failed less often: its 404 would pass as the answer for a model that the first one serves."""
    world = World()
    world.answers.update(a=[answer(failing) for _ in range(3)], b=[answer(*refusal) for _ in range(9)])
    asked = [world.ask(document=CHAT)]
    asked += [world.ask(document=CHAT, exchange=world.exchange) for _ in range(3)]
    assert asked == [(failing, "ab"), (failing, "a"), (failing, "a"), (200, "a")]


def test_a_further_attempt_is_spread_over_those_that_can():
    """A backup that does not know the model is left out, and the other two take turns."""
    world = World((A, B, Upstream("c", "https://c/v1", b"key c", priority=2)))
    for name in "ac":
        world.answers[name] = [answer(500) for _ in range(9)]
    world.answers["b"] = [answer(404, NOT_FOUND) for _ in range(9)]
    asked = [world.ask(document=CHAT)[1]]
    asked += [world.ask(document=CHAT, exchange=world.exchange)[1] for _ in range(4)]
    assert asked == ["abc", "a", "c", "a", "c"]


def test_backups_that_all_cannot_are_asked_if_there_is_nothing_else():
    """What they said may have been true a moment ago only, and an answer of theirs is better than none."""
    world = World((A, B), [ModelRoute("big", "b")])
    world.health.unknown_model(B, "big", world.clock.seconds())
    world.answers["b"] = [answer(500), answer(404, NOT_FOUND)]
    assert world.ask(document=CHAT) == (500, "b")
    assert world.ask(document=CHAT, exchange=world.exchange) == (404, "b")


def test_a_refused_connection_and_a_backup_that_cannot():
    """The proxy's own 502 is true, and a 404 would not be."""
    world = World()
    world.answers.update(a=[REFUSED], b=[answer(404, NOT_FOUND)])
    assert world.ask(document=CHAT) == (UpstreamUnreachable, "ab")


def test_a_client_that_leaves_while_another_is_asked_frees_the_answer_that_is_held():
    """Nothing stays open."""
    world = World()
    held = answer(500)
    world.answers.update(a=[held])
    forward = world.forward

    async def hang(request):
        if request.route is B:
            await Deferred()
        return await forward(request)

    world.forward = hang
    done = world.start(document=CHAT)
    failures = []
    done.addErrback(failures.append)
    done.cancel()
    assert failures[0].check(CancelledError)
    assert held.body.discarded


# ---- a dead upstream


def test_a_dead_upstream_is_left_alone_until_a_probe_reaches_it():
    """After three failures requests go elsewhere, all of them; once it listens again it serves again."""
    world = World()
    world.answers["a"] = [REFUSED] * 3
    assert [world.ask(document={"model": f"m{n}"})[1] for n in range(5)] == ["ab", "ab", "ab", "b", "b"]
    assert set(world.probed) == {"a"}
    world.health.probed(A, False, world.clock.seconds())
    world.clock.advance(3600.0)
    assert [world.ask()[1] for _ in range(2)] == ["b", "b"]
    world.health.probed(A, True, world.clock.seconds())
    assert [world.ask()[1] for _ in range(2)] == ["a", "a"]


def test_a_dead_upstream_is_not_gone_over_to():
    """An answer of the other one passes; only with nothing to lose is it tried."""
    world = World()
    world.answers["a"] = [REFUSED] * 3
    for _ in range(3):
        world.ask()
    world.health.probed(A, False, world.clock.seconds())
    world.answers["b"] = [answer(503)]
    assert world.ask() == (503, "b")


# ---- keys


def test_a_limited_key_cools_as_long_as_it_is_told():
    """A 429's key rests; its request goes elsewhere, for SDKs that retry by themselves too."""
    world = World()
    world.answers["a"] = [answer(429, b"{}", (b"retry-after", b"20"))]
    assert [world.ask(headers=SDK) for _ in range(2)] == [(200, "ab"), (200, "b")]
    world.clock.advance(20)
    assert world.ask() == (200, "a")


def test_a_limited_key_that_is_told_nothing_cools_for_a_second():
    """The next requests go straight to the other upstream."""
    world = World()
    world.answers["a"] = [answer(429, b"{}")]
    assert [world.ask(headers=SDK)[1] for _ in range(3)] == ["ab", "b", "b"]
    world.clock.advance(1.0)
    assert world.ask(headers=SDK) == (200, "a")


# ---- errors with status 200

GOOD = (
    b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":"x"}}]}\n\ndata: [DONE]\n\n'
)
BAD = b'data: {"error":{"message":"Provider returned error","code":502}}\n\n'
QUOTA = b'event: error\ndata: {"type":"error","code":"insufficient_quota","message":"m"}\n\n'


@pytest.mark.parametrize("first", [BAD, b": PROCESSING\n\n" + BAD, QUOTA, BAD.rstrip()])
@pytest.mark.parametrize("headers", [[], SDK])
def test_an_error_in_the_first_event_goes_elsewhere(first, headers):
    """The client sees only the other upstream's stream."""
    world = World()
    world.answers.update(a=[answer(200, first, STREAM)], b=[answer(200, GOOD, STREAM)])
    assert world.ask(document={**CHAT, "stream": True}, headers=headers) == (200, "ab")
    assert fakes.read(world.result) == GOOD


def test_errors_in_the_first_event_count_like_statuses():
    """A model that fails so is sick, a spent quota rests its key."""
    world = World()
    world.answers["a"] = [answer(200, BAD, STREAM) for _ in range(5)]
    assert [world.ask(document=CHAT)[1] for _ in range(6)] == ["ab"] * 5 + ["b"]
    world = World()
    world.answers["a"] = [answer(200, QUOTA, STREAM)]
    assert [world.ask(document={"model": f"m{n}"})[1] for n in range(2)] == ["ab", "b"]


def test_errors_everywhere_pass_as_they_came():
    """The last one, byte for byte."""
    world = World()
    world.answers.update(a=[answer(200, BAD, STREAM)], b=[answer(200, QUOTA, STREAM)])
    assert world.ask(document=CHAT) == (200, "ab")
    assert fakes.read(world.result) == QUOTA


@pytest.mark.parametrize(
    ("kwargs", "headers", "upstreams"),
    [
        ({}, [STREAM], [A]),
        ({"endpoint": "threads/runs"}, [STREAM], [A, B]),
        ({"body": object()}, [STREAM], [A, B]),
        ({}, [(b"content-type", b"application/octet-stream")], [A, B]),
    ],
)
def test_what_cannot_go_elsewhere_is_not_looked_at(kwargs, headers, upstreams):
    """Its bytes pass untouched."""
    world = World(upstreams)
    response = answer(200, BAD, *headers)
    world.answers["a"] = [response]
    assert world.ask(**kwargs) == (200, "a")
    assert world.result is response


def test_a_good_first_event_passes_at_once_and_the_rest_as_it_comes():
    """Nothing more of the stream is waited for."""
    world = World()
    body = fakes.Body()
    world.answers["a"] = [ProxyResponse(200, b"", [STREAM], body)]
    results = []
    world.start(document=CHAT).addCallback(results.append)
    body.feed(b": hold on\n\n")
    assert results == []
    body.feed(GOOD[:30])
    assert results == []
    body.feed(GOOD[30:90])
    assert results[0].status == 200
    assert world.clock.getDelayedCalls() == []
    reader = fakes.Reader()
    results[0].body.deliverBody(reader)
    assert reader.data == b": hold on\n\n" + GOOD[:90]
    body.feed(GOOD[90:])
    body.end()
    assert reader.data == b": hold on\n\n" + GOOD


def test_a_stream_that_says_nothing_is_not_held_back_for_ever():
    """After some seconds of comments the head goes out, and keeps the client's connection alive."""
    world = World()
    body = fakes.Body()
    world.answers["a"] = [ProxyResponse(200, b"", [STREAM], body)]
    results = []
    world.start(document=CHAT).addCallback(results.append)
    body.feed(b": hold on\n\n")
    world.clock.advance(FIRST_EVENT_S - 1)
    assert results == []
    world.clock.advance(1)
    assert results[0].status == 200
    reader = fakes.Reader()
    results[0].body.deliverBody(reader)
    body.feed(BAD)
    assert reader.data == b": hold on\n\n" + BAD


class WholeBody(Body):
    """A short body that has arrived whole."""

    @property
    def whole(self):
        return self.data


def test_an_error_document_behind_a_200_goes_elsewhere():
    """As gateways answer without a stream; what has a usage is an answer."""
    world = World()
    document = b'{"error":{"message":"no","code":502},"user_id":"u"}'
    world.answers["a"] = [ProxyResponse(200, b"", [JSON], WholeBody(document))]
    assert world.ask(document=CHAT) == (200, "ab")
    answered = b'{"id":"resp_1","error":null,"usage":{"input_tokens":1}}'
    world.answers["a"] = [ProxyResponse(200, b"", [JSON], WholeBody(answered))]
    assert world.ask(document=CHAT) == (200, "a")


# ---- models


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
    changed = json.loads(changed_list(body, aliases=["fast"]))
    assert expected == [item["id"] for item in changed["data"]]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data":1}', b'{"data":[1]}', b'{"data":{}}', b'{"data":""}', b"\xff"]
)
def test_what_is_no_list_passes(body):
    """An answer of another shape stays as it is."""
    assert changed_list(body, aliases=["fast"]) == body


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
    endpoint = "models/{id}" if target == b"/models/m" else "models"
    request = ProxyRequest(
        method=method, target=target, headers=headers, body=None, exchange=exchange, endpoint=endpoint
    )
    Deferred.fromCoroutine(ListModels(["fast"], None, None)(request, forward)).addCallback(results.append)
    assert filters == len(results[0].filters)
    if filters:
        assert seen[0].headers == [(b"accept-encoding", b"identity")]
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
