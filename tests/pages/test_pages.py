"""Pages of the proxy itself as scrapers, balancers and people read them."""

import json

import pytest
from fakes import Downstream
from twisted.internet.defer import Deferred

from openai_proxy.pages.pages import HealthPage, JSONPage, MetricsPage

HOST = b" HTTP/1.1\r\nHost: p\r\n\r\n"


@pytest.fixture
def world():
    """A downstream edge with one page of each kind; `asked` are those that wait for an answer."""
    world = Downstream()
    world.asked = []
    world.accepted = []

    def ask():
        world.asked.append(Deferred())
        return world.asked[-1]

    def render(accept):
        world.accepted.append(accept)
        return "text/plain; version=1", b"up 1\n"

    health = HealthPage(ask)
    health.putChild(b"live", JSONPage(lambda: (200, {"status": "alive"})))
    root = world.site.root
    root.putChild(b"health", health)
    root.putChild(b"metrics", MetricsPage(render))
    root.putChild(b"gathered", MetricsPage(lambda accept: ask()))
    return world


def parts(answer):
    """Return (status, headers by lower-case name, body) of one response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
    return int(status.split(b" ")[1]), headers, body


def ask(world, target, method=b"GET", extra=b""):
    return parts(world.connect().send(method + b" " + target + b" HTTP/1.1\r\nHost: p\r\n" + extra + b"\r\n"))


@pytest.mark.parametrize("target", [b"/health/live", b"/health/live/", b"/health/live?x=1"])
def test_a_page_is_json_that_nobody_keeps(world, target):
    """It is determined anew each time; a slash or a query at the end does not matter."""
    status, headers, body = ask(world, target)
    assert (status, json.loads(body)) == (200, {"status": "alive"})
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"content-length"] == b"%d" % len(body)


@pytest.mark.parametrize("target", [b"/health/live", b"/metrics"])
def test_head_is_get_without_the_body(world, target):
    """Monitors that only want the status get the same head."""
    _, expected, _ = ask(world, target)
    status, headers, body = ask(world, target, b"HEAD")
    assert (status, body) == (200, b"")
    assert headers == expected


@pytest.mark.parametrize("target", [b"/health/other", b"/health/live/x", b"/health//", b"/metrics/x"])
def test_nothing_is_below_a_page(world, target):
    """A page that does not exist is answered in the API's own words."""
    status, _, body = ask(world, target)
    assert status in (400, 404)
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("target", [b"/health", b"/health/live", b"/metrics"])
def test_pages_are_only_read(world, target):
    """Other methods are refused, with those that are allowed."""
    status, headers, body = ask(world, target, b"POST", b"Content-Length: 0\r\n")
    assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
    assert b"GET" in headers[b"allow"]


@pytest.mark.parametrize(("healthy", "expected"), [(True, 200), (False, 503)])
def test_health_is_reported_when_it_is_known(world, healthy, expected):
    """Nothing is answered before somebody has looked."""
    client = world.connect()
    assert client.send(b"GET /health" + HOST) == b""
    world.asked[0].callback((healthy, {"status": "x"}))
    status, _, body = parts(client.transport.take())
    assert (status, json.loads(body)) == (expected, {"status": "x"})


def test_who_does_not_wait_for_health_is_not_answered(world):
    """A balancer that hangs up leaves nothing open, whatever the result is."""
    client = world.connect()
    client.send(b"GET /health" + HOST)
    client.lose()
    world.asked[0].callback((True, {"status": "x"}))
    assert client.transport.take() == b""


@pytest.mark.parametrize("target", [b"/health", b"/gathered"])
def test_who_asks_what_can_not_be_known_is_told_so(world, target):
    """A page that waited for an answer that failed must not wait for ever; the cause is only in the log."""
    client, gone = world.connect(), world.connect()
    for connection in (client, gone):
        assert connection.send(b"GET " + target + HOST) == b""
    gone.lose()
    for asked in world.asked:
        asked.errback(ZeroDivisionError("secret"))
    status, _, body = parts(client.transport.take())
    assert (status, json.loads(body)["error"]["code"]) == (500, "internal_error")
    assert b"secret" not in body
    assert gone.transport.take() == b""
    assert parts(client.send(b"GET /health/live" + HOST))[0] == 200


def test_metrics_come_in_the_format_that_is_asked_for(world):
    """The `Accept` header decides; none is as good as any."""
    status, headers, body = ask(world, b"/metrics", extra=b"Accept: application/openmetrics-text\r\n")
    assert (status, body) == (200, b"up 1\n")
    assert headers[b"content-type"] == b"text/plain; version=1"
    assert headers[b"content-length"] == b"5"
    ask(world, b"/metrics")
    assert world.accepted == [b"application/openmetrics-text", b""]


def test_metrics_that_others_have_to_tell_come_later(world):
    """The page waits for them; a scraper that left is not written to."""
    client, gone = world.connect(), world.connect()
    for connection in (client, gone):
        assert connection.send(b"GET /gathered" + HOST) == b""
    gone.lose()
    for asked in world.asked:
        asked.callback(("text/plain", b"all 2\n"))
    status, headers, body = parts(client.transport.take())
    assert (status, headers[b"content-type"], body) == (200, b"text/plain", b"all 2\n")
    assert gone.transport.take() == b""


def test_pages_are_no_exchanges(world):
    """What asks for health every second is not in the records of the API."""
    ask(world, b"/health/live")
    ask(world, b"/metrics")
    assert world.published == []
