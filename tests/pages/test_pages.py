"""Pages of the proxy itself as scrapers, balancers and people read them."""

import json

import pytest
from fakes import Downstream, error_of, parts
from twisted.internet.defer import Deferred

from openai_proxy.pages.pages import HealthPage, JSONPage, MetricsPage


@pytest.fixture
def edge():
    """A downstream edge with one page of each kind; `asked` are those that wait for an answer."""
    edge = Downstream()
    edge.asked = []
    edge.accepted = []

    def ask():
        edge.asked.append(Deferred())
        return edge.asked[-1]

    def render(accept):
        edge.accepted.append(accept)
        return "text/plain; version=1", b"up 1\n"

    health = HealthPage(ask)
    health.putChild(b"live", JSONPage(lambda: (200, {"status": "alive"})))
    root = edge.site.root
    root.putChild(b"health", health)
    root.putChild(b"metrics", MetricsPage(render))
    root.putChild(b"gathered", MetricsPage(lambda accept: ask()))
    return edge


@pytest.mark.parametrize("target", ["/health/live", "/health/live/", "/health/live?x=1"])
def test_a_page_is_json_that_nobody_keeps(edge, target):
    """It is determined anew each time; a slash or a query at the end does not matter."""
    status, headers, body = edge.ask(target)
    assert (status, json.loads(body)) == (200, {"status": "alive"})
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"content-length"] == b"%d" % len(body)


@pytest.mark.parametrize("target", ["/health/live", "/metrics"])
def test_head_is_get_without_the_body(edge, target):
    """Monitors that only want the status get the same head."""
    _, expected, _ = edge.ask(target)
    status, headers, body = edge.ask(target, method="HEAD")
    assert (status, body) == (200, b"")
    assert headers == expected


@pytest.mark.parametrize("target", ["/health/other", "/health/live/x", "/health//", "/metrics/x"])
def test_nothing_is_below_a_page(edge, target):
    """A page that does not exist is answered in the API's own words."""
    status, _, body = edge.ask(target)
    assert status in (400, 404)
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("target", ["/health", "/health/live", "/metrics"])
def test_pages_are_only_read(edge, target):
    """Other methods are refused, with those that are allowed."""
    status, headers, body = edge.ask(target, "Content-Length: 0", method="POST")
    assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
    assert b"GET" in headers[b"allow"]


@pytest.mark.parametrize(("healthy", "expected"), [(True, 200), (False, 503)])
def test_health_is_reported_when_it_is_known(edge, healthy, expected):
    """Nothing is answered before somebody has looked."""
    client = edge.request("/health")
    assert client.transport.take() == b""
    edge.asked[0].callback((healthy, {"status": "x"}))
    status, _, body = parts(client.transport.take())
    assert (status, json.loads(body)) == (expected, {"status": "x"})


def test_who_does_not_wait_for_health_is_not_answered(edge):
    """A balancer that hangs up leaves nothing open, whatever the result is."""
    client = edge.request("/health")
    client.lose()
    edge.asked[0].callback((True, {"status": "x"}))
    assert client.transport.take() == b""


@pytest.mark.parametrize("target", ["/health", "/gathered"])
def test_who_asks_what_can_not_be_known_is_told_so(edge, target):
    """A page that waited for an answer that failed must not wait for ever; the cause is only in the log."""
    client, gone = edge.request(target), edge.request(target)
    assert (client.transport.take(), gone.transport.take()) == (b"", b"")
    gone.lose()
    for asked in edge.asked:
        asked.errback(ZeroDivisionError("secret"))
    answer = client.transport.take()
    assert error_of(answer) == (500, "internal_error")
    assert b"secret" not in answer
    assert gone.transport.take() == b""
    assert parts(client.send(b"GET /health/live HTTP/1.1\r\nHost: p\r\n\r\n"))[0] == 200


def test_metrics_come_in_the_format_that_is_asked_for(edge):
    """The `Accept` header decides; none is as good as any."""
    status, headers, body = edge.ask("/metrics", "Accept: application/openmetrics-text")
    assert (status, body) == (200, b"up 1\n")
    assert headers[b"content-type"] == b"text/plain; version=1"
    assert headers[b"content-length"] == b"5"
    edge.ask("/metrics")
    assert edge.accepted == [b"application/openmetrics-text", b""]


def test_metrics_that_others_have_to_tell_come_later(edge):
    """The page waits for them; a scraper that left is not written to."""
    client, gone = edge.request("/gathered"), edge.request("/gathered")
    assert (client.transport.take(), gone.transport.take()) == (b"", b"")
    gone.lose()
    for asked in edge.asked:
        asked.callback(("text/plain", b"all 2\n"))
    status, headers, body = parts(client.transport.take())
    assert (status, headers[b"content-type"], body) == (200, b"text/plain", b"all 2\n")
    assert gone.transport.take() == b""


def test_pages_are_no_exchanges(edge):
    """What asks for health every second is not in the records of the API."""
    edge.ask("/health/live")
    edge.ask("/metrics")
    assert edge.published == []
