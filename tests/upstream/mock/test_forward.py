"""The mock upstream as the stages meet it: requests in, bodies out, and time."""

import gzip
import json
from types import SimpleNamespace

import pytest
from fakes import exchange, through
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone

from openai_proxy.downstream.body import IncomingBody
from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.errors import Overloaded, RequestTooLarge
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.upstream_errors import UpstreamTimeout
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.mock import forward as module
from openai_proxy.upstream.mock.forward import MockForward
from openai_proxy.upstream.mock.memory import MockMemory
from openai_proxy.wire.mock_url import MockParameters, parse_mock


class World:
    """A mock upstream and a clock."""

    def __init__(self, url="mock:", room=1 << 30, **timeouts):
        self.clock = Clock()
        self.buffered = BufferedBytes(room)
        self.exchange = None
        self.forward = MockForward(
            "m",
            parse_mock(url),
            UpstreamTimeouts(**timeouts),
            MockMemory(),
            self.buffered,
            lambda body, document: len(body) // 4,
            self.clock,
            self.clock.seconds,
        )

    def ask(self, model="mock-echo", text="one two three", method=b"POST", **changes):
        document = {"model": model, "messages": [{"role": "user", "content": text}]}
        document |= changes.pop("members", {})
        self.exchange = exchange()
        fields = {
            "body": json.dumps(document).encode(),
            "headers": [(b"Content-Type", b"application/json")],
            "target": b"/chat/completions",
            "endpoint": "chat/completions",
            **changes,
        }
        self.request = ProxyRequest(method, exchange=self.exchange, **fields)
        return through(self.forward, self.request)

    def answer(self, *args, **changes):
        asking = self.ask(*args, **changes)
        return now(asking)


def now(deferred):
    found = []
    deferred.addBoth(found.append)
    (result,) = found
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


class Reader:
    def __init__(self, response):
        self.data = b""
        self.reason = None
        response.body.deliverBody(self)

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.reason = reason.value


def header(response, name):
    return next((value for each, value in response.headers if each.lower() == name), None)


def test_an_answer_has_length_type_and_an_id():
    """And the record says who answered."""
    world = World()
    response = world.answer()
    reader = Reader(response)
    assert json.loads(reader.data)["choices"][0]["message"]["content"] == "one two three"
    assert header(response, b"content-length") == b"%d" % len(reader.data)
    assert header(response, b"content-type") == b"application/json"
    assert header(response, b"x-request-id").startswith(b"req_")
    assert (world.exchange.upstream, world.exchange.attempts) == ("m", 1)
    assert world.request.undelivered == [response.body]


def test_a_refusal_has_an_id_too():
    """As every error."""
    response = World().answer(endpoint="images/generations")
    assert (response.status, header(response, b"x-request-id") is not None) == (404, True)


def test_a_head_request_has_no_body():
    """Only the length of what GET would give."""
    response = World().answer(method=b"HEAD", endpoint="models", target=b"/models", body=None)
    assert Reader(response).data == b""
    assert int(header(response, b"content-length")) > 100


def test_a_websocket_is_not_mocked():
    """Its handshake is a GET, and of the path of an endpoint that is."""
    response = World().answer(method=b"GET", endpoint="models", target=b"/models", body=None, upgrade=True)
    assert response.status == 404


def test_a_compressed_body_is_read():
    """Its length is the decoded one for what is held in memory."""
    document = {"model": "mock-echo", "messages": [{"role": "user", "content": "hi"}]}
    headers = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")]
    world = World()
    body = gzip.compress(json.dumps(document).encode())
    response = world.answer(body=body, headers=headers, encoded=True)
    assert b'"hi"' in Reader(response).data
    assert world.buffered.held_bytes > 0
    world.exchange.end(Outcome.COMPLETE, 1.0)
    assert world.buffered.held_bytes == 0
    with pytest.raises(Overloaded):
        World(room=1).answer(body=body, headers=headers, encoded=True)


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"{}", mtime=0)[:-4], gzip.compress(b"[]", mtime=0)],
    ids=["no gzip", "cut", "no object"],
)
def test_a_body_that_cannot_be_read_is_refused(body):
    """As what is no JSON."""
    headers = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")]
    assert World().answer(body=body, headers=headers, encoded=True).status == 400


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--b--\r\n'
)
UPLOAD = {
    "endpoint": "files",
    "target": b"/files",
    "headers": [(b"Content-Type", b"multipart/form-data; boundary=b")],
}


def arriving(data):
    body = IncomingBody(SimpleNamespace(want_body=lambda: None, release_body=lambda: None), None, None)
    body.feed(data)
    body.end()
    return body


@pytest.mark.parametrize("made", [arriving, WholeBody])
def test_an_upload_is_read_as_it_arrives(made):
    """What it takes of the memory is free when it has ended."""
    world = World()
    response = world.answer(body=made(FORM % b"x"), **UPLOAD)
    assert json.loads(Reader(response).data)["bytes"] == 1
    world.exchange.end(Outcome.COMPLETE, 1.0)
    assert world.buffered.held_bytes == 0


@pytest.mark.parametrize("made", [arriving, WholeBody])
def test_an_upload_that_is_too_large_is_refused(monkeypatch, made):
    """Before it is whole."""
    monkeypatch.setattr(module, "LARGEST_BODY_BYTES", 100)
    with pytest.raises(RequestTooLarge, match="at most 100 bytes"):
        World().answer(body=made(FORM % bytes(200)), **UPLOAD)


# ---- time


def test_latency_passes_before_the_head():
    """Also of a stream."""
    for members in ({}, {"stream": True}):
        world = World("mock:latency_s=2")
        asking = world.ask(members=members)
        world.clock.advance(1.9)
        assert not asking.called
        world.clock.advance(0.1)
        assert now(asking).status == 200
        assert world.exchange.upstream_s == pytest.approx(2)


def test_tokens_take_their_time():
    """A stream comes word by word, a plain answer when all of it is written."""
    world = World("mock:tokens_per_s=2")
    reader = Reader(world.answer(text="abcd efgh", members={"stream": True}))
    seen = []
    for _ in range(8):
        seen.append(reader.data.count(b'"content":"') - 1)
        world.clock.advance(0.5)
    assert seen == [0, 0, 1, 2, 2, 2, 2, 2]
    assert isinstance(reader.reason, ResponseDone)
    asking = world.ask(text="abcd efgh")
    world.clock.advance(1.4)
    assert not asking.called
    world.clock.advance(0.2)
    assert asking.called


def test_who_leaves_while_it_waits_leaves_no_timer():
    """Before the head, and in mid-stream."""
    world = World("mock:latency_s=2&tokens_per_s=1")
    asking = world.ask()
    asking.addErrback(lambda failure: None)
    asking.cancel()
    assert world.clock.getDelayedCalls() == []
    asking = world.ask(members={"stream": True})
    world.clock.advance(2)
    response = now(asking)
    Reader(response)
    response.body.discard()
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("timeouts", "kind", "after_s"),
    [
        ({"first_byte": 3}, "timeout_first_byte", 3),
        ({"first_byte": 3, "total": 2}, "timeout_total", 2),
    ],
)
def test_a_head_that_is_late_is_a_timeout(timeouts, kind, after_s):
    """As of a server."""
    for url, model in (("mock:latency_s=10", "mock-text"), ("mock:", "mock-stall")):
        world = World(url, **timeouts)
        asking = world.ask(model)
        world.clock.advance(after_s)
        with pytest.raises(UpstreamTimeout):
            now(asking)
        assert world.exchange.upstream_error_kinds == [("m", kind)]


def test_a_stall_without_a_deadline_ends_with_the_client():
    """And with nothing else."""
    world = World(first_byte=None)
    asking = world.ask("mock-stall")
    world.clock.advance(1e6)
    assert not asking.called
    asking.addErrback(lambda failure: None)
    asking.cancel()
    assert asking.called


# ---- what fails on purpose


@pytest.mark.parametrize(("model", "status"), [("mock-429", 429), ("mock-500", 500)])
def test_special_models_fail(model, status):
    """In OpenAI's shape."""
    response = World().answer(model)
    assert response.status == status
    assert set(json.loads(Reader(response).data)["error"]) == {"message", "type", "param", "code"}


def test_the_special_model_stalls_in_its_stream():
    """After its first events; the deadline of silence ends it."""
    world = World(idle=5)
    reader = Reader(world.answer("mock-stall", members={"stream": True}))
    assert b'"content":"' in reader.data
    world.clock.advance(5)
    assert reader.reason.kind == "timeout_idle"


@pytest.mark.parametrize("members", [{}, {"stream": True}])
def test_the_special_model_breaks_off(members):
    """In the middle of what it announced, or of its stream."""
    response = World().answer("mock-cut", members=members)
    reader = Reader(response)
    assert isinstance(reader.reason, ConnectionLost)
    assert reader.data
    assert b"[DONE]" not in reader.data
    if not members:
        assert 0 < len(reader.data) < response.body.length


def test_errors_come_at_their_rate_and_the_same_in_every_run():
    """So that a test of retries can be repeated."""
    runs = []
    for _ in range(2):
        world = World("mock:error_rate=0.25")
        runs.append([world.answer().status for _ in range(200)])
    assert runs[0] == runs[1]
    assert 30 < runs[0].count(500) < 70
    assert World("mock:error_rate=1").answer().status == 500


# ---- the URL


def test_the_url_has_three_parameters():
    """All may be left out."""
    assert parse_mock("mock:") == MockParameters(0.0, None, 0.0)
    given = parse_mock("mock:latency_s=0.2&tokens_per_s=50&error_rate=0.01")
    assert given == MockParameters(0.2, 50.0, 0.01)


@pytest.mark.parametrize(
    "rest",
    [
        "latency=1",
        "//host",
        "latency_s=x",
        "latency_s=",
        "latency_s=-1",
        "latency_s=nan",
        "latency_s=4000",
        "tokens_per_s=0",
        "tokens_per_s=inf",
        "error_rate=2",
        "error_rate=0&error_rate=1",
    ],
)
def test_a_url_that_is_none_is_refused(rest):
    """The start says what is wrong."""
    with pytest.raises(ValueError, match="mock:"):
        parse_mock("mock:" + rest)
