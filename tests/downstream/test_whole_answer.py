"""A whole answer that is written at once is the one that a Relay would have written."""

from fakes import Downstream, ReadyBody, Whole
from hypothesis import given
from hypothesis import strategies as st
from taken import Taken

from openai_proxy.exchange.messages import ProxyResponse


class Watcher:
    """A filter that lets everything pass, or one that changes it."""

    def __init__(self, transparent):
        self.transparent = transparent

    def feed(self, data):
        return data if self.transparent else data.upper()

    def finish(self):
        return b"" if self.transparent else b"."


NAMES = [b"X-A", b"x-request-id", b"Content-Type", b"Vary", b"openai-processing-ms"]
LINES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([b"", b"1", b"a b", b"\xe9"])), max_size=4)


def heads(persistence):
    """A request's lines, of either version, that say what becomes of the connection."""
    version, connection = persistence
    return b"GET /v1/files HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, connection)


PERSISTENCE = st.tuples(
    st.sampled_from([b"1.1", b"1.1", b"1.0"]),
    st.sampled_from([b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"]),
)


def served(says_so, body, lines, status, filters, requests):
    """Return what a client reads, how its connection is, what was recorded, and the bodies."""
    bodies = []

    async def forward(request):
        headers = [*lines, (b"content-length", b"%d" % len(body))]
        bodies.append(Whole(body) if says_so else ReadyBody(body))
        made = ProxyResponse(status, b"Reason", headers, bodies[-1])
        for transparent in filters:
            made = made.filtered(Watcher(transparent))
        return made

    edge = Downstream(forward)
    client = edge.connect()
    read = client.send(*requests)
    recorded = [
        (each.outcome, each.status, each.response_bytes, each.response_headers, each.first_byte_at)
        for each in edge.published
    ]
    return (read, client.ended, recorded), bodies


def test_whole_answers_are_those_of_a_relay():
    """Whatever the version, the lines and the filters: the same bytes, the same end, the same record."""
    with Taken() as note:

        @given(
            st.binary(max_size=20) | st.just(b"long" * 2000),
            LINES,
            st.sampled_from([200, 201, 404, 500]),
            st.lists(st.sampled_from([True, True, True, False]), max_size=2),
            st.lists(PERSISTENCE.map(heads), min_size=1, max_size=3),
        )
        def check(body, lines, status, filters, requests):
            at_once, bodies = served(True, body, lines, status, filters, requests)
            note(bodies[0].protocol is None)
            assert at_once == served(False, body, lines, status, filters, requests)[0]

        check()
