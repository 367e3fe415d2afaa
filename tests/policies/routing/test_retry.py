"""Further attempts as an upstream counts them and a client sees them."""

import gzip

import fakes
import pytest
from fakes import read
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.upstream_errors import UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.policies.routing.retry import Retry

REFUSED = UpstreamUnreachable(kind="refused", sent="no")
EXPIRED = UpstreamTLSError(kind="tls", sent="no", may_heal=False)
STALE = UpstreamUnreachable(kind="reset", sent="stale")
RESET = UpstreamUnreachable(kind="reset", sent="yes")
QUOTA = b'{"error":{"code":"insufficient_quota"}}'


class Kept:
    """An upload that is small enough to be kept."""

    rewindable = True

    def __init__(self):
        self.rewound = 0

    def rewind(self):
        self.rewound += 1
        return True


class ChunkedBody:
    """A body of known chunks; `open` ones never end."""

    whole = None

    def __init__(self, *chunks, open=False):
        self.chunks, self.open = list(chunks), open
        self.length = None
        self.discarded = self.delivered = self.paused = False

    def deliverBody(self, protocol):
        assert not self.delivered
        self.delivered = True
        self.protocol = protocol
        protocol.makeConnection(self)
        self.resumeProducing()

    def resumeProducing(self):
        self.paused = False
        while self.chunks and not self.paused:
            self.protocol.dataReceived(self.chunks.pop(0))
        if not self.chunks and not self.open and not self.paused:
            self.open = True
            self.protocol.connectionLost(Failure(ResponseDone()))

    def pauseProducing(self):
        self.paused = True

    def stopProducing(self):
        self.discarded = True

    discard = stopProducing


def answer(status, *headers, body=b""):
    body = body if isinstance(body, ChunkedBody) else ChunkedBody(body)
    return ProxyResponse(status, b"", list(headers), body)


class Run:
    """One request against a script of answers and errors, on a clock of its own."""

    def __init__(
        self,
        *script,
        max_retries=3,
        method=b"POST",
        headers=(),
        body=b"{}",
        jitter=0.5,
        endpoint="chat/completions",
        document=None,
        upgrade=False,
        reasons=(),
    ):
        self.clock = Clock()
        self.script, self.sent_at = list(script), []
        stage = Retry(
            max_retries,
            timers=self.clock,
            clock=self.clock.seconds,
            wall_clock=self.clock.seconds,
            jitter=lambda: jitter,
        )
        self.exchange = fakes.exchange(endpoint=endpoint)
        self.exchange.retry_reasons.extend(reasons)
        request = ProxyRequest(
            method=method,
            target=b"/x",
            headers=list(headers),
            body=body,
            exchange=self.exchange,
            document=document,
            upgrade=upgrade,
        )
        self.result = None
        self.done = Deferred.fromCoroutine(stage(request, self.forward))
        self.done.addBoth(self.note)

    def note(self, result):
        self.result = result.value if isinstance(result, Failure) else result

    async def forward(self, request):
        self.sent_at.append(self.clock.seconds())
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def finish(self, limit_s=100):
        for _ in range(int(limit_s / 0.05)):
            if self.result is not None:
                break
            self.clock.advance(0.05)
        return self.result


GOOD = answer(200, body=b"good")


@pytest.mark.parametrize(
    ("first", "options", "attempts"),
    [
        (REFUSED, {}, 2),
        (STALE, {}, 1),
        (EXPIRED, {}, 1),
        (RESET, {}, 1),
        (RESET, {"method": b"GET", "body": None}, 2),
        (RESET, {"headers": [(b"idempotency-key", b"1")]}, 2),
        (UpstreamTimeout(kind="timeout_first_byte"), {"method": b"GET"}, 1),
        (REFUSED, {"body": object()}, 1),
        (REFUSED, {"max_retries": 0}, 1),
        (REFUSED, {"body": Kept()}, 2),
        (REFUSED, {"headers": [(b"x-stainless-retry-count", b"0")]}, 2),
        (ValueError(), {}, 1),
    ],
)
def test_failures(first, options, attempts):
    """Only what the upstream cannot have acted on is sent again, and never a streamed body."""
    run = Run(first, GOOD, **options)
    result = run.finish()
    assert attempts == len(run.sent_at)
    assert result is (GOOD if attempts == 2 else first)
    body = options.get("body")
    assert not isinstance(body, Kept) or body.rewound == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
@pytest.mark.parametrize(
    ("options", "headers", "attempts"),
    [
        ({}, [], 2),
        ({"headers": [(b"X-Stainless-Retry-Count", b"0")]}, [], 1),
        ({}, [(b"x-should-retry", b"false")], 1),
        ({}, [(b"retry-after", b"61")], 1),
        ({}, [(b"retry-after-ms", b"61000")], 1),
        ({}, [(b"retry-after", b"60")], 2),
        ({"body": object()}, [], 1),
        ({"body": Kept(), "endpoint": "audio/transcriptions"}, [], 2),
        ({"max_retries": 0}, [], 1),
        ({"upgrade": True, "method": b"GET", "body": None}, [], 1),
        ({"upgrade": True, "method": b"GET", "body": None}, [(b"retry-after", b"2")], 1),
        ({"method": b"GET", "endpoint": "files", "body": None}, [], 2),
        ({"endpoint": "batches", "headers": [(b"idempotency-key", b"1")]}, [], 2),
        ({"endpoint": "responses", "document": {"background": False}}, [], 2),
    ],
)
def test_statuses(status, options, headers, attempts):
    """An answer that may be mended is asked for again, unless anybody said not to."""
    first = answer(status, *headers, body=b"first")
    run = Run(first, answer(200, body=b"good"), **options)
    result = run.finish()
    assert attempts == len(run.sent_at)
    assert read(result) == (b"first" if attempts == 1 else b"good")
    assert first.body.discarded or first.body.delivered
    assert run.exchange.retry_reasons == ([str(status)] if attempts == 2 else [])


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
@pytest.mark.parametrize(
    ("endpoint", "document"),
    [("batches", {}), ("files", None), ("responses", {"background": True}), ("threads/{id}/runs", {})],
)
def test_a_creation_is_made_once_unless_nothing_was_done(status, endpoint, document):
    """After a 500 there may be a batch already, which a second request would pay for again; 429 and 503 say that there is none."""
    run = Run(answer(status, body=b"first"), GOOD, endpoint=endpoint, document=document)
    result = run.finish()
    assert len(run.sent_at) == (2 if status in (429, 503) else 1)
    assert result.status == (200 if status in (429, 503) else status)


def test_attempts_at_other_upstreams_count():
    """Three retries are three further calls in all, wherever they went."""
    run = Run(*(answer(500) for _ in range(9)), reasons=["failover"])
    assert run.finish().status == 500
    assert len(run.sent_at) == 3
    assert run.exchange.retry_reasons == ["failover", "500", "500"]


def test_the_last_answer_passes_as_it_came():
    """When the attempts are used up the client gets the last answer, the others are discarded."""
    answers = [answer(503, (b"x-try", b"%d" % n), body=b"try %d" % n) for n in range(3)]
    bodies = [a.body for a in answers]
    run = Run(*answers, max_retries=2)
    result = run.finish()
    assert read(result) == b"try 2"
    assert result.headers == [(b"x-try", b"2")]
    assert [b.discarded for b in bodies] == [True, True, False]


@pytest.mark.parametrize(
    ("header", "wait_s"), [((b"retry-after", b"2"), 2.0), ((b"retry-after-ms", b"100"), 0.25)]
)
def test_the_longer_wait_counts(header, wait_s):
    """Neither the back-off nor what the upstream asks for is cut short."""
    run = Run(answer(503, header), GOOD)
    run.finish()
    assert run.sent_at[1] == pytest.approx(wait_s, abs=0.051)


def test_a_refused_connection_is_tried_over_more_than_a_second():
    """An upstream that restarts within a second is met, whatever the jitter."""
    run = Run(REFUSED, REFUSED, REFUSED, REFUSED, jitter=0.0)
    assert run.finish() is REFUSED
    assert len(run.sent_at) == 4
    assert run.sent_at[-1] > 1.0


@pytest.mark.parametrize("encoded", [False, True])
def test_a_spent_quota_is_not_retried(encoded):
    """A 429 that no waiting mends passes whole, also if it had to be looked into."""
    body = gzip.compress(QUOTA) if encoded else QUOTA
    headers = [(b"content-encoding", b"gzip")] if encoded else []
    run = Run(answer(429, *headers, body=ChunkedBody(body[:5], body[5:])))
    result = run.finish()
    assert len(run.sent_at) == 1
    assert read(result) == body


def test_a_long_body_that_was_looked_into_passes_whole():
    """What is beyond the peek follows it in order, held back until it is asked for."""
    chunks = [bytes([65 + n]) * 40_000 for n in range(5)]
    body = ChunkedBody(*chunks)
    run = Run(answer(429, body=body), max_retries=1)
    run.script.append(answer(429, body=ChunkedBody(*chunks)))
    result = run.finish()
    assert body.discarded
    assert read(result) == b"".join(chunks)


def test_a_client_that_left_gets_no_further_attempt():
    """Leaving during the wait ends it; leaving during the peek frees the connection."""
    run = Run(answer(503), GOOD)
    run.done.cancel()
    assert type(run.result) is CancelledError
    assert run.clock.getDelayedCalls() == []
    body = ChunkedBody(b"x", open=True)
    run = Run(answer(429, body=body), GOOD)
    run.done.cancel()
    assert type(run.result) is CancelledError
    assert body.discarded
    assert len(run.sent_at) == 1
