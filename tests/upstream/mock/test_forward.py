"""The mock upstream as the stages meet it: requests in, bodies out, and time."""

import gzip
import json

import pytest
from fakes import delivered, exchange, incoming, result_of, through
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone

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


class MockUpstream:
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
        return result_of(asking)


def header(response, name):
    return next((value for each, value in response.headers if each.lower() == name), None)


def test_an_answer_has_length_type_and_an_id():
    """And the record says who answered."""
    mock = MockUpstream()
    response = mock.answer()
    reader = delivered(response.body)
    assert json.loads(reader.data)["choices"][0]["message"]["content"] == "one two three"
    assert header(response, b"content-length") == b"%d" % len(reader.data)
    assert header(response, b"content-type") == b"application/json"
    assert header(response, b"x-request-id").startswith(b"req_")
    assert (mock.exchange.upstream, mock.exchange.attempts) == ("m", 1)
    assert mock.request.undelivered == [response.body]


def test_a_refusal_has_an_id_too():
    """As every error."""
    response = MockUpstream().answer(endpoint="images/generations")
    assert (response.status, header(response, b"x-request-id") is not None) == (404, True)


def test_a_head_request_has_no_body():
    """Only the length of what GET would give."""
    response = MockUpstream().answer(method=b"HEAD", endpoint="models", target=b"/models", body=None)
    assert delivered(response.body).data == b""
    assert int(header(response, b"content-length")) > 100


def test_a_websocket_is_not_mocked():
    """Its handshake is a GET, and of the path of an endpoint that is."""
    response = MockUpstream().answer(
        method=b"GET", endpoint="models", target=b"/models", body=None, upgrade=True
    )
    assert response.status == 404


def test_a_compressed_body_is_read():
    """Its length is the decoded one for what is held in memory."""
    document = {"model": "mock-echo", "messages": [{"role": "user", "content": "hi"}]}
    headers = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")]
    mock = MockUpstream()
    body = gzip.compress(json.dumps(document).encode())
    response = mock.answer(body=body, headers=headers, encoded=True)
    assert b'"hi"' in delivered(response.body).data
    assert mock.buffered.held_bytes > 0
    mock.exchange.end(Outcome.COMPLETE, 1.0)
    assert mock.buffered.held_bytes == 0
    with pytest.raises(Overloaded):
        MockUpstream(room=1).answer(body=body, headers=headers, encoded=True)


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"{}", mtime=0)[:-4], gzip.compress(b"[]", mtime=0)],
    ids=["no gzip", "cut", "no object"],
)
def test_a_body_that_cannot_be_read_is_refused(body):
    """As what is no JSON."""
    headers = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")]
    assert MockUpstream().answer(body=body, headers=headers, encoded=True).status == 400


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--b--\r\n'
)
UPLOAD = {
    "endpoint": "files",
    "target": b"/files",
    "headers": [(b"Content-Type", b"multipart/form-data; boundary=b")],
}


@pytest.mark.parametrize("made", [incoming, WholeBody])
def test_an_upload_is_read_as_it_arrives(made):
    """What it takes of the memory is free when it has ended."""
    mock = MockUpstream()
    response = mock.answer(body=made(FORM % b"x"), **UPLOAD)
    assert json.loads(delivered(response.body).data)["bytes"] == 1
    mock.exchange.end(Outcome.COMPLETE, 1.0)
    assert mock.buffered.held_bytes == 0


@pytest.mark.parametrize("made", [incoming, WholeBody])
def test_an_upload_that_is_too_large_is_refused(monkeypatch, made):
    """Before it is whole."""
    monkeypatch.setattr(module, "LARGEST_BODY_BYTES", 100)
    with pytest.raises(RequestTooLarge, match="at most 100 bytes"):
        MockUpstream().answer(body=made(FORM % bytes(200)), **UPLOAD)


# ---- time


def test_latency_passes_before_the_head():
    """Also of a stream."""
    for members in ({}, {"stream": True}):
        mock = MockUpstream("mock:latency_s=2")
        asking = mock.ask(members=members)
        mock.clock.advance(1.9)
        assert not asking.called
        mock.clock.advance(0.1)
        assert result_of(asking).status == 200
        assert mock.exchange.upstream_s == pytest.approx(2)


def test_tokens_take_their_time():
    """A stream comes word by word, a plain answer when all of it is written."""
    mock = MockUpstream("mock:tokens_per_s=2")
    reader = delivered(mock.answer(text="abcd efgh", members={"stream": True}).body)
    seen = []
    for _ in range(8):
        seen.append(reader.data.count(b'"content":"') - 1)
        mock.clock.advance(0.5)
    assert seen == [0, 0, 1, 2, 2, 2, 2, 2]
    assert isinstance(reader.reason, ResponseDone)
    asking = mock.ask(text="abcd efgh")
    mock.clock.advance(1.4)
    assert not asking.called
    mock.clock.advance(0.2)
    assert asking.called


def test_who_leaves_while_it_waits_leaves_no_timer():
    """Before the head, and in mid-stream."""
    mock = MockUpstream("mock:latency_s=2&tokens_per_s=1")
    asking = mock.ask()
    asking.addErrback(lambda failure: None)
    asking.cancel()
    assert mock.clock.getDelayedCalls() == []
    asking = mock.ask(members={"stream": True})
    mock.clock.advance(2)
    response = result_of(asking)
    delivered(response.body)
    response.body.discard()
    assert mock.clock.getDelayedCalls() == []


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
        mock = MockUpstream(url, **timeouts)
        asking = mock.ask(model)
        mock.clock.advance(after_s)
        with pytest.raises(UpstreamTimeout):
            result_of(asking)
        assert mock.exchange.upstream_error_kinds == [("m", kind)]


def test_a_stall_without_a_deadline_ends_with_the_client():
    """And with nothing else."""
    mock = MockUpstream(first_byte=None)
    asking = mock.ask("mock-stall")
    mock.clock.advance(1e6)
    assert not asking.called
    asking.addErrback(lambda failure: None)
    asking.cancel()
    assert asking.called


# ---- what fails on purpose


@pytest.mark.parametrize(("model", "status"), [("mock-429", 429), ("mock-500", 500)])
def test_special_models_fail(model, status):
    """In OpenAI's shape."""
    response = MockUpstream().answer(model)
    assert response.status == status
    assert set(json.loads(delivered(response.body).data)["error"]) == {"message", "type", "param", "code"}


def test_the_special_model_stalls_in_its_stream():
    """After its first events; the deadline of silence ends it."""
    mock = MockUpstream(idle=5)
    reader = delivered(mock.answer("mock-stall", members={"stream": True}).body)
    assert b'"content":"' in reader.data
    mock.clock.advance(5)
    assert reader.reason.kind == "timeout_idle"


@pytest.mark.parametrize("members", [{}, {"stream": True}])
def test_the_special_model_breaks_off(members):
    """In the middle of what it announced, or of its stream."""
    response = MockUpstream().answer("mock-cut", members=members)
    reader = delivered(response.body)
    assert isinstance(reader.reason, ConnectionLost)
    assert reader.data
    assert b"[DONE]" not in reader.data
    if not members:
        assert 0 < len(reader.data) < response.body.length


def test_errors_come_at_their_rate_and_the_same_in_every_run():
    """So that a test of retries can be repeated."""
    runs = []
    for _ in range(2):
        mock = MockUpstream("mock:error_rate=0.25")
        runs.append([mock.answer().status for _ in range(200)])
    assert runs[0] == runs[1]
    assert 30 < runs[0].count(500) < 70
    assert MockUpstream("mock:error_rate=1").answer().status == 500


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
