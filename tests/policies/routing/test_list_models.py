"""The list of models as a key with an allow-list, and as a client of several upstreams sees it."""

import gzip
import json

import pytest
from fakes import Body, Forward, ReadyBody, exchange, outcome_of, read, results_of, through
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.authenticate.keyring import ClientKey, Keyring
from openai_proxy.policies.routing import collected_lists
from openai_proxy.policies.routing.collected_lists import LIST_PATIENCE_S
from openai_proxy.policies.routing.health import UpstreamHealth
from openai_proxy.policies.routing.list_models import ListModels
from openai_proxy.policies.routing.route import Route
from openai_proxy.policies.routing.table import RoutingTable, Upstream
from openai_proxy.wire.keys import key_digest

KEYS = Keyring(
    [
        ClientKey("listed", key_digest(b"a"), b"up", models=("a", "c*")),
        ClientKey("free", key_digest(b"b"), b"up"),
    ]
)


def list_of(*names):
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


def answer(body, *headers, status=200):
    return ProxyResponse(status, b"", list(headers), ReadyBody(body))


def ask(stage, forward, key="listed"):
    request = ProxyRequest(
        b"GET", b"/models", [], None, exchange(key=key, endpoint="models"), endpoint="models"
    )
    return results_of(through(stage, request, forward))


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_restricted_key_sees_what_it_may_use(coding):
    """Also if an upstream compresses although it was asked not to; other keys see the answer as it came."""
    raw = list_of("a", "b", "c-1")
    lines = [(b"Content-Encoding", coding)] if coding else []

    async def forward(request):
        return answer(gzip.compress(raw) if coding else raw, *lines)

    (response,) = ask(ListModels([], KEYS, None), forward)
    assert read(response) == list_of("a", "c-1").replace(b"}, {", b"},{")
    assert not any(name.lower() == b"content-encoding" for name, _ in response.headers)
    (response,) = ask(ListModels([], KEYS, None), forward, key="free")
    assert (response.filters, response.headers) == ((), lines)


def test_a_list_too_long_to_be_filtered_is_empty_for_a_restricted_key(monkeypatch):
    """What nobody looked at is not shown."""
    monkeypatch.setattr("openai_proxy.policies.routing.list_models.MOST_BYTES", 10)
    forward = Forward(answer(list_of("a", "b")))
    (response,) = ask(ListModels([], KEYS, None), forward)
    assert json.loads(read(response))["data"] == []
    (response,) = ask(ListModels(["x"], KEYS, None), forward, key="free")
    assert read(response) == list_of("a", "b")


UPSTREAMS = [
    Upstream(name, f"http://{name}/v1", key=b"k-" + name.encode()) for name in ("one", "two", "three")
]


def test_the_list_is_of_all_upstreams():
    """One that is down, late or broken adds nothing, and the first one's answer is not waited for twice."""
    clock = Clock()
    late = Deferred()
    route = Route(
        RoutingTable(UPSTREAMS),
        UpstreamHealth(tuple(UPSTREAMS)),
        probe=lambda upstream: None,
        clock=clock.seconds,
        wall_clock=clock.seconds,
        timers=clock,
        draw=lambda: 0.0,
    )
    asked = []

    async def innermost(request):
        name = request.route.name
        request.exchange.upstream = name
        asked.append((name, request.credential))
        if name == "two":
            raise UpstreamUnreachable
        if name == "three":
            await late
        return answer(list_of("a", "b"))

    async def forward(request):
        return await route(request, innermost)

    results = ask(ListModels([], KEYS, lambda request: route.ask_elsewhere(request, innermost)), forward)
    assert results == []
    clock.advance(LIST_PATIENCE_S)
    assert read(results[0]) == list_of("a")
    assert asked == [("one", b"k-one"), ("two", b"k-two"), ("three", b"k-three")]


def a_route(clock, upstreams):
    return Route(
        RoutingTable(upstreams),
        UpstreamHealth(tuple(upstreams)),
        probe=lambda upstream: None,
        clock=clock.seconds,
        wall_clock=clock.seconds,
        timers=clock,
        draw=lambda: 0.0,
    )


def test_the_other_upstreams_are_asked_at_the_same_time():
    """Two that are late cost the time of one; what the record says of the calls is right all the same."""
    clock = Clock()
    upstreams = [
        Upstream(name, f"http://{name}/v1", key=b"k-" + name.encode())
        for name in ("one", "two", "three", "four")
    ]
    route = a_route(clock, upstreams)
    waiting, exchanges = {}, []

    async def innermost(request):
        name = request.route.name
        request.exchange.upstream = name
        request.exchange.attempts += 1
        if name == "one":
            exchanges.append(request.exchange)
        else:
            waiting[name] = Deferred()
            started = clock.seconds()
            try:
                await waiting[name]
            except UpstreamUnreachable:
                request.exchange.upstream_error_kinds.append((name, "unreachable"))
                raise
            finally:
                request.exchange.upstream_s += clock.seconds() - started
        return answer(list_of(name))

    async def forward(request):
        return await route(request, innermost)

    results = ask(ListModels([], None, lambda request: route.ask_elsewhere(request, innermost)), forward)
    assert list(waiting) == ["two", "three", "four"]
    clock.advance(2.0)
    waiting["three"].callback(None)
    clock.advance(2.0)
    waiting["two"].errback(UpstreamUnreachable())
    assert results == []
    clock.advance(LIST_PATIENCE_S - 4.0)
    assert [each["id"] for each in json.loads(read(results[0]))["data"]] == ["one", "three"]
    (seen,) = exchanges
    assert (seen.upstream, seen.attempts, seen.upstream_s) == ("one", 4, LIST_PATIENCE_S)
    assert seen.upstream_error_kinds == [("two", "unreachable")]


def test_a_client_that_leaves_ends_all_the_questions():
    """Nobody is asked for nobody."""
    clock = Clock()
    route = a_route(clock, UPSTREAMS)
    cancelled = []

    async def innermost(request):
        name = request.route.name
        if name != "one":
            await Deferred(lambda _: cancelled.append(name))
        return answer(list_of(name))

    request = ProxyRequest(
        b"GET", b"/models", [], None, exchange(upstream="one", endpoint="models"), endpoint="models"
    )
    asking = Deferred.fromCoroutine(route.ask_elsewhere(request, innermost))
    asking.cancel()
    assert cancelled == ["two", "three"]
    assert not clock.getDelayedCalls()
    assert isinstance(outcome_of(asking), CancelledError)


def test_lists_of_two_upstreams_are_one():
    """Filtered after they were put together."""

    async def forward(request):
        return answer(list_of("a", "b"))

    async def elsewhere(request):
        return [list_of("a", "c-2", "d")]

    (response,) = ask(ListModels([], KEYS, elsewhere), forward)
    assert [each["id"] for each in json.loads(read(response))["data"]] == ["a", "c-2"]
    (response,) = ask(ListModels([], None, elsewhere), forward, key=None)
    assert [each["id"] for each in json.loads(read(response))["data"]] == ["a", "b", "c-2", "d"]


def test_a_list_of_another_upstream_that_is_too_long_is_not_read_on(monkeypatch):
    """Its connection would wait for somebody to read the rest."""
    monkeypatch.setattr(collected_lists, "LIST_BYTES", 4)
    body, record = Body(), exchange()
    forward = Forward(ProxyResponse(200, b"OK", [], body))
    request = ProxyRequest(b"GET", b"/models", [], None, record, endpoint="models")
    lists = results_of(
        Deferred.fromCoroutine(collected_lists.collect_lists([request], record, forward, Clock()))
    )
    body.feed(b"[1,2,3]")
    assert (len(lists), body.discarded) == (1, True)
