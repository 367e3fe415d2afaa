"""The downstream edge as a whole: connections, limits that change, draining, the end."""

import pytest
from fakes import Answer, Downstream, response
from twisted.internet.defer import Deferred

from openai_proxy.downstream.request_reader import DownstreamLimits

GET = b"GET /v1/models HTTP/1.1\r\nHost: p\r\n\r\n"


class Waiting:
    """A `forward` that answers when it is told."""

    def __init__(self):
        self.answers = []

    async def __call__(self, request):
        self.answers.append(Deferred())
        return await self.answers[-1]

    def answer(self):
        self.answers.pop(0).callback(response(Answer(b"ok")))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", True),
        (b"/health", True),
        (b"/health/live", True),
        (b"/healthy", False),
        (b"/v1/health", False),
        (b"/models", False),
        (b"//", False),
        (b"//health", False),
    ],
)
def test_pages_are_told_from_the_api_by_their_first_segment(path, expected):
    """Nothing of the API is hidden by a page, and no page by the API."""
    assert expected == Downstream().site.root.is_page(path)


def test_an_exchange_is_published_once():
    """However it ends, and whatever comes after its end."""
    world = Downstream()
    client = world.connect()
    assert client.send(GET).startswith(b"HTTP/1.1 200 OK")
    client.lose()
    assert world.outcomes == ["complete"]


def test_connections_have_a_bound():
    """One too many is told so and closed; those that are there go on, and a free place is taken again."""
    world = Downstream(connections=1)
    first, second = world.connect(), world.connect()
    refused = second.send(GET)
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b'"overloaded"' in refused
    assert first.send(GET).startswith(b"HTTP/1.1 200 ")
    second.lose()
    first.lose()
    assert world.site.channels == set()
    assert world.connect().send(GET).startswith(b"HTTP/1.1 200 ")


def test_limits_may_change_while_it_runs():
    """New connections keep the new ones, as after a reload."""
    world = Downstream()
    old = world.connect()
    world.site.limits = DownstreamLimits(target_bytes=8)
    world.site.max_connections = 2
    assert world.connect().send(GET).startswith(b"HTTP/1.1 414 ")
    assert old.send(GET).startswith(b"HTTP/1.1 200 ")
    assert world.connect().send(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n").startswith(b"HTTP/1.1 503 ")


def test_draining_finishes_what_runs_and_closes_what_is_idle():
    """No answer is cut off, and no connection outlives its answer."""
    forward = Waiting()
    world = Downstream(forward)
    idle, busy = world.connect(), world.connect()
    busy.send(GET)
    world.site.drain()
    assert (idle.ended, busy.ended) == ("closed", None)
    forward.answer()
    assert busy.transport.take().startswith(b"HTTP/1.1 200 ")
    assert busy.ended == "closed"
    assert world.outcomes == ["complete"]


def test_aborting_cuts_every_connection():
    """What has not ended by then ends now, in the records too."""
    forward = Waiting()
    world = Downstream(forward)
    idle, busy = world.connect(), world.connect()
    busy.send(GET)
    world.site.abort()
    assert (idle.ended, busy.ended) == ("aborted", "aborted")
    for client in (idle, busy):
        client.lose()
    assert world.outcomes == ["client_gone"]
    assert world.site.channels == set()


def test_the_sweeper_runs_from_the_first_port_to_the_end():
    """Several ports start it once; closing them leaves it to the connections that still run."""
    world = Downstream()
    world.site.startFactory()
    assert len(world.clock.getDelayedCalls()) == 1
    client = world.connect()
    world.site.stopFactory()
    world.advance(20)
    assert client.ended == "closed"  # idle for too long
    client.lose()
    world.site.stop()
    world.site.stop()
    assert world.clock.getDelayedCalls() == []


def test_bodies_are_captured_where_somebody_wants_them():
    """Each exchange has a capture of its own; without an observer that wants it there is none."""
    world = Downstream()
    world.connect().send(GET)
    made = []

    class Capture:
        def __init__(self):
            made.append(self)

        def __getattr__(self, name):
            return lambda *arguments: None

    world.site.capture = Capture
    world.connect().send(GET)
    world.connect().send(GET)
    assert [ended.capture for ended in world.published] == [None, *made]
    assert len(made) == 2
