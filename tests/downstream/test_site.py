"""The downstream edge as a whole: connections, limits that change, draining, the end."""

import json
from types import SimpleNamespace

import pytest
from fakes import Downstream, HeldForward, ReadyBody
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.pages.pages import JSONPage

GET = b"GET /v1/models HTTP/1.1\r\nHost: p\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", b'{"service":"test"}\n'),
        (b"/health", b'{"status":"healthy"}\n'),
        (b"/health/", b'{"status":"healthy"}\n'),
        (b"/health?x=/v1/models", b'{"status":"healthy"}\n'),
        (b"/health/li%76e", b'{"status":"alive"}\n'),
        (b"/v1/models", b"ok"),
        (b"/models", b"ok"),
        (b"/%6dodels", b"ok"),
        (b"http://localhost:80/health", b'{"status":"healthy"}\n'),
        (b"http://localhost:80?x", b'{"service":"test"}\n'),
        (b"http://localhost:80/models", b"ok"),
        (b"/healthy", "unknown_url"),
        (b"/%68ealth", "unknown_url"),
        (b"/v1/health", b"ok"),
        (b"/health/nowhere", "unknown_url"),
        (b"/health/../models", "unknown_url"),
        (b"//", "malformed_request"),
        (b"//health", "malformed_request"),
        (b"/models/../health", "malformed_request"),
    ],
)
def test_pages_are_told_from_the_api_by_their_first_segment(path, expected):
    """Nothing of the API is hidden by a page, and no page by the API, nor has a page's name two spellings."""
    edge = Downstream()
    edge.site.root.children[b"health"].putChild(b"live", JSONPage(lambda: (200, {"status": "alive"})))
    client = edge.connect()
    client.transport.hostAddr = IPv4Address("TCP", "127.0.0.1", 80)
    body = client.send(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n").partition(b"\r\n\r\n")[2]
    assert expected == (body if isinstance(expected, bytes) else json.loads(body)["error"]["code"])


def test_the_first_segment_keeps_its_spelling():
    """Otherwise a page would have two names, and a rule that knows one of them could be avoided."""
    request = SimpleNamespace(uri=b"/%6dodels/a%2Fb/%63?x=%20")
    Downstream().site.getResourceFor(request)
    assert (request.path, request.uri) == (b"/%6dodels/a%2Fb/%63", b"/%6dodels/a%2Fb/%63?x=%20")
    assert (request.prepath, request.postpath) == ([b"%6dodels"], [b"a/b", b"c"])


def test_the_api_gets_its_target_byte_for_byte():
    """The tree is walked with a copy."""
    edge = Downstream()
    edge.connect().send(b"GET /v1/files/a%2Fb%20c;d/%63ontent?x=%41+&y HTTP/1.1\r\nHost: p\r\n\r\n")
    assert [request.target for request in edge.forward.requests] == [b"/files/a%2Fb%20c;d/%63ontent?x=%41+&y"]


class Guest(Resource):
    """A page as anybody writes one for twisted.web."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.ends = []

    def render_GET(self, request):
        request.notifyFinish().addBoth(self.ends.append)
        if request.args.get(b"wait"):
            return NOT_DONE_YET
        request.addCookie(b"seen", b"yes")
        lines = [request.path, *request.postpath, request.getHeader(b"x"), request.getCookie(b"c")]
        return b" ".join(lines)


def guest_asked(target):
    """Return an edge with a Guest at /guest, the client that asked it for `target`, and what came back."""
    edge = Downstream()
    edge.guest = Guest()
    edge.site.root.putChild(b"guest", edge.guest)
    client = edge.connect()
    return (
        edge,
        client,
        client.send(b"GET " + target + b" HTTP/1.1\r\nHost: p\r\nX: y\r\nCookie: c=d\r\n\r\n"),
    )


def test_a_page_may_be_any_resource_of_twisted_web():
    """It finds all that it knows of a request: path, query, headers, cookies, the end."""
    edge, client, answer = guest_asked(b"/guest/a%20b?q")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nSet-Cookie: seen=yes\r\n" in answer
    assert answer.endswith(b"\r\n\r\n/guest/a%20b a b y d")
    assert edge.guest.ends == [None]
    assert b" 200 " in client.send(GET)


def test_a_page_hears_that_its_client_has_left():
    """As from any Request; and no exchange of the API has ended."""
    edge, client, _ = guest_asked(b"/guest?wait=1")
    client.lose()
    [failure] = edge.guest.ends
    assert failure.check(ConnectionDone)
    assert edge.published == []


def test_an_exchange_is_published_once():
    """However it ends, and whatever comes after its end."""
    edge = Downstream()
    client = edge.connect()
    assert client.send(GET).startswith(b"HTTP/1.1 200 OK")
    client.lose()
    assert edge.outcomes == ["complete"]


def test_connections_have_a_bound():
    """One too many gets an error and is closed; the others continue, and a free slot is used again."""
    edge = Downstream(connections=1)
    first, second = edge.connect(), edge.connect()
    refused = second.send(GET)
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b'"overloaded"' in refused
    assert first.send(GET).startswith(b"HTTP/1.1 200 ")
    second.lose()
    first.lose()
    assert edge.site.channels == set()
    assert edge.connect().send(GET).startswith(b"HTTP/1.1 200 ")


def test_limits_may_change_while_it_runs():
    """New connections keep the new ones, as after a reload."""
    edge = Downstream()
    old = edge.connect()
    edge.site.limits = DownstreamLimits(target_bytes=8)
    edge.site.max_connections = 2
    assert edge.connect().send(GET).startswith(b"HTTP/1.1 414 ")
    assert old.send(GET).startswith(b"HTTP/1.1 200 ")
    assert edge.connect().send(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n").startswith(b"HTTP/1.1 503 ")


def test_draining_finishes_what_runs_and_closes_what_is_idle():
    """No answer is cut off, and no connection outlives its answer."""
    forward = HeldForward()
    edge = Downstream(forward)
    idle, busy = edge.connect(), edge.connect()
    busy.send(GET)
    edge.site.drain()
    assert (idle.ended, busy.ended) == ("closed", None)
    forward.answer(0, ReadyBody(b"ok"))
    assert busy.transport.take().startswith(b"HTTP/1.1 200 ")
    assert busy.ended == "closed"
    assert edge.outcomes == ["complete"]


def test_aborting_cuts_every_connection():
    """What has not ended by then ends now, in the records too."""
    forward = HeldForward()
    edge = Downstream(forward)
    idle, busy = edge.connect(), edge.connect()
    busy.send(GET)
    edge.site.abort()
    assert (idle.ended, busy.ended) == ("aborted", "aborted")
    for client in (idle, busy):
        client.lose()
    assert edge.outcomes == ["client_gone"]
    assert edge.site.channels == set()


def test_the_sweeper_runs_from_the_first_port_to_the_end():
    """Several ports start it once; closing them leaves it to the connections that still run."""
    edge = Downstream()
    edge.site.startFactory()
    assert len(edge.clock.getDelayedCalls()) == 1
    client = edge.connect()
    edge.site.stopFactory()
    edge.advance(20)
    assert client.ended == "closed"  # idle for too long
    client.lose()
    edge.site.stop()
    edge.site.stop()
    assert edge.clock.getDelayedCalls() == []


def test_bodies_are_captured_where_somebody_wants_them():
    """Each exchange has a capture of its own; without an observer that wants it there is none."""
    edge = Downstream()
    edge.connect().send(GET)
    made = []

    class Capture:
        def __init__(self):
            made.append(self)

        def __getattr__(self, name):
            return lambda *arguments: None

    edge.site.capture = Capture
    edge.connect().send(GET)
    edge.connect().send(GET)
    assert [ended.capture for ended in edge.published] == [None, *made]
    assert len(made) == 2
