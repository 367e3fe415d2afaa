"""What runs, asked for and cancelled over a whole downstream edge in memory."""

import json

import pytest
from fakes import LOCAL, Body, Downstream, parts, response
from twisted.internet.defer import Deferred, succeed

from openai_proxy.observe.live.observer import LiveObserver
from openai_proxy.observe.live.table import LiveTable
from openai_proxy.observe.live.view import LocalView
from openai_proxy.pages.admin import AdminPages, Gate
from openai_proxy.pages.live import ExchangesPage, LivePage

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\n{}"
EVENTS = (b"Content-Type", b"text/event-stream")


class LivePages(Downstream):
    """An edge whose answers never come, unless `answer` says so, and its view."""

    def __init__(self, token=None, on=True):
        self.cancelled = 0
        self.answer = None
        super().__init__(self.answer_or_wait)
        table = LiveTable(lambda: self.api.running, lambda: None, self.clock.seconds)
        table.keep_at_most(10)
        observer = LiveObserver(table)
        self.site.at_end = (self.publish,)
        self.observer = observer
        self.view = LocalView(table, self.clock, lambda: None, succeed, lambda: 0.0)
        gate = Gate(lambda: token)
        view = (lambda: self.view) if on else (lambda: None)
        admin = AdminPages()
        admin.putChild(b"exchanges", ExchangesPage(gate, view))
        admin.putChild(b"live", LivePage(gate, view))
        self.site.root.putChild(b"admin", admin)

    def publish(self, exchange):
        self.published.append(exchange)
        self.observer({"exchange": exchange})
        self.observer.flush()

    async def answer_or_wait(self, request):
        request.exchange.attempts = 1
        if self.answer is not None:
            return self.answer

        def cancel(_):
            self.cancelled += 1

        return await Deferred(cancel)

    def document(self, target, *lines, **how):
        """Return status and document of a response."""
        status, _, body = parts(self.open(target, *lines, **how).transport.take())
        return status, json.loads(body) if body else None

    def open(self, target, *lines, **how):
        return self.request(target, *lines, peer=LOCAL, host="127.0.0.1:8080", **how)

    def begin(self):
        client = self.connect()
        client.send(CHAT)
        [row] = self.document("/admin/exchanges?state=running&limit=1")[1]["exchanges"]
        return client, row["id"]


def test_what_runs_and_has_ended_is_listed():
    """With how many run in all."""
    pages = LivePages()
    pages.begin()
    _, id = pages.begin()
    status, document = pages.document("/admin/exchanges?limit=1")
    assert status == 200
    assert [row["id"] for row in document["exchanges"]] == [id]
    assert document["in_flight"] == 2
    assert pages.document(f"/admin/exchanges/{id}")[1]["timeline"]["queued_s"] == 0
    assert pages.document("/admin/exchanges/")[0] == 200


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=", None),
        ("limit=-1", "limit"),
        ("limit=%D9%A1", "limit"),
        ("state=queued", "state"),
        ("limit=1000&state=ended", None),
        ("other=x", None),
    ],
)
def test_a_query_that_cannot_be_names_its_parameter(query, param):
    status, document = LivePages().document(f"/admin/exchanges?{query}")
    if param is None and query != "limit=":
        assert status == 200
    else:
        assert status == 400
        assert (document["error"]["code"], document["error"]["param"]) == ("invalid_value", param or "limit")


def test_one_that_waits_is_cancelled():
    """The upstream is left, and the client receives that it need not try again."""
    pages = LivePages()
    client, id = pages.begin()
    assert pages.document(f"/admin/exchanges/{id}", method="DELETE") == (
        202,
        {"id": id, "state": "cancelling"},
    )
    assert pages.cancelled == 1
    answer = client.transport.take()
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"x-should-retry: false\r\n" in answer
    assert b'"code":"cancelled_by_operator"' in answer
    assert pages.outcomes == ["cancelled"]
    assert pages.document(f"/admin/exchanges/{id}", method="DELETE")[0] == 404
    assert pages.document(f"/admin/exchanges/{id}")[1]["outcome"] == "cancelled"
    client.send(CHAT)  # the connection is still good
    assert len(pages.api.running) == 1


def test_one_that_streams_is_cut():
    """Nothing may look like its end; a client that reads nothing is not waited for."""
    pages = LivePages()
    body = Body()
    pages.answer = response(body, EVENTS)
    client, id = pages.begin()
    body.feed(b"data: 1\n\n")
    assert pages.document(f"/admin/exchanges/{id}", method="DELETE")[0] == 202
    assert body.discards == 1
    assert client.ended == "aborted"
    assert b"0\r\n\r\n" not in client.transport.take()
    assert pages.outcomes == ["cancelled"]
    client.lose()
    pages.advance(1)
    assert pages.outcomes == ["cancelled"]


def test_a_stage_that_takes_its_time_does_not_hold_the_answer():
    """Its error is sent, and its end does not reach the client any more."""
    pages = LivePages()
    waiting, late = Deferred(lambda _: None), response(Body(), EVENTS)

    async def forward(request):
        await waiting
        return late

    pages.api.forward = forward
    client, id = pages.begin()
    waiting._suppressAlreadyCalled = False
    assert pages.document(f"/admin/exchanges/{id}", method="DELETE")[0] == 202
    assert client.transport.take().startswith(b"HTTP/1.1 403 ")
    assert pages.outcomes == ["cancelled"]


def test_unknown_ids_are_not_found():
    for method in ("GET", "DELETE"):
        status, document = LivePages().document("/admin/exchanges/proxy-00", method=method)
        assert (status, document["error"]["code"]) == (404, "exchange_not_found")


def test_methods_are_each_pages_own():
    """A list is not deleted; an exchange is not made here."""
    pages = LivePages()
    assert pages.document("/admin/exchanges", method="DELETE")[0] == 405
    assert pages.document("/admin/exchanges/x", method="POST")[0] == 405
    assert pages.document("/admin/exchanges", method="PUT")[0] == 405


@pytest.mark.parametrize("path", ["/admin/exchanges", "/admin/exchanges/x", "/admin/live"])
def test_turned_off_there_is_nothing(path):
    """As if the proxy had no such pages."""
    status, document = LivePages(on=False).document(path)
    assert (status, document["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("path", ["/admin/exchanges", "/admin/exchanges/x", "/admin/live"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "null",
        "http://127.0.0.1:8081",
        "http://localhost:8080",
        "http://127.0.0.1:8080, x",
    ],
)
def test_pages_of_other_origins_get_nothing(path, origin):
    """A browser adds credentials, and reaches loopback, for any page that asks."""
    for method in ("GET", "DELETE"):
        status, document = LivePages().document(path, f"Origin: {origin}", method=method)
        assert (status, document["error"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "HTTP://127.0.0.1:8080"])
def test_our_own_page_may_ask(origin):
    assert LivePages().document("/admin/exchanges", f"Origin: {origin}")[0] == 200


def test_our_own_page_may_ask_behind_a_proxy_that_ends_its_tls():
    """It says so; no page of the web can."""
    pages = LivePages(token=b"secret")
    headers = ["Authorization: Bearer secret", "Origin: https://127.0.0.1:8080"]
    assert pages.document("/admin/exchanges", *headers)[0] == 403
    assert pages.document("/admin/exchanges", *headers, "X-Forwarded-Proto: https")[0] == 200


def test_a_cross_site_request_without_an_origin_is_foreign_unless_it_navigates():
    """An image or a frame of another page; a link to our page is no harm."""
    pages = LivePages()
    assert (
        pages.document("/admin/exchanges", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")[0] == 403
    )
    assert (
        pages.document("/admin/exchanges", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")[0] == 200
    )


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Authorization: Basic YW55Om5vdGU=", 401),
        ("Authorization: Basic YW55OnNlY3JldA==", 200),
        ("Authorization: basic  OnNlY3JldA==", 200),
        ("Authorization: Basic c2VjcmV0", 401),
        ("Authorization: Basic %%%", 401),
        ("Authorization: Bearer secret", 200),
        ("X: y", 401),
    ],
)
def test_the_token_is_basics_password_too(header, status):
    """So that a browser asks for it."""
    pages = LivePages(token=b"secret")
    connection = pages.open("/admin/exchanges", header)
    answer = connection.transport.take()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nwww-authenticate: Basic realm=" in answer.lower().replace(b"basic", b"Basic")) == (
        status == 401
    )


def test_events_are_read_along():
    """A snapshot, then what happens; the reader that leaves costs nothing any more."""
    pages = LivePages()
    reader = pages.open("/admin/live")
    answer = reader.transport.take()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"text/event-stream" in answer
    assert b"event: snapshot\ndata: " in answer
    client, id = pages.begin()
    pages.advance(0.5)
    assert b'event: started\ndata: {"id":"%b"' % id.encode() in reader.transport.take()
    client.lose()
    pages.advance(0.5)
    assert b'"outcome":"client_gone"' in reader.transport.take()
    pages.advance(1)
    assert b"event: stats\n" in reader.transport.take()
    reader.lose()
    assert len(pages.view.feed) == 0


def test_readers_are_few():
    """Each costs something at every event; a request for the head only makes no reader."""
    pages = LivePages()
    assert pages.open("/admin/live", method="HEAD").transport.take().startswith(b"HTTP/1.1 200 OK\r\n")
    readers = [pages.open("/admin/live") for _ in range(20)]
    status, document = pages.document("/admin/live")
    assert (status, document["error"]["code"]) == (503, "overloaded")
    readers[0].lose()
    assert pages.open("/admin/live").transport.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_reader_that_does_not_read_is_not_written_to():
    """It gets a snapshot when it reads again."""
    pages = LivePages()
    reader = pages.open("/admin/live")
    reader.transport.take()
    reader.channel.pauseProducing()
    for _ in range(3):
        client, _ = pages.begin()
        client.lose()
    pages.advance(1)
    assert reader.transport.take() == b""
    reader.channel.resumeProducing()
    assert reader.transport.take().count(b"event: ended\n") == 3
