"""JSON bodies are read whole and looked at; others pass by."""

import pytest
from fakes import Recorder, exchange, through
from twisted.web.iweb import UNKNOWN_LENGTH

from openai_proxy.core.errors import InvalidJSON, MissingParameter, RequestTooLarge
from openai_proxy.messages import ProxyRequest
from openai_proxy.stages.read_body import ReadBody


class Arriving:
    """A body that is there at once, or raises."""

    def __init__(self, data, length=None):
        self.data = data
        self.length = len(data) if length is None else length
        self.limits = []

    def check_announced(self):
        if len(self.data) > 5:
            raise RequestTooLarge

    async def read(self, limit_bytes):
        self.limits.append(limit_bytes)
        if len(self.data) > limit_bytes:
            raise RequestTooLarge
        return self.data


def run(body, limit=1000, target=b"/chat/completions", **fields):
    forward = Recorder()
    fields = {"buffered": True, **fields}
    request = ProxyRequest(b"POST", target, [(b"X", b"y")], body, exchange(), **fields)
    done = through(ReadBody(limit), request, forward)
    failures = []
    done.addErrback(failures.append)
    if failures:
        raise failures[0].value
    return forward.requests[0]


def test_json_body_is_read_and_decoded_once():
    """The stages behind see bytes and document; the record the model."""
    body = b'{"model": "m", "stream": true, "messages": []}'
    request = run(Arriving(body), required=("model", "messages"))
    assert (request.body, request.headers) == (body, [(b"X", b"y")])
    assert request.document == {"model": "m", "stream": True, "messages": []}
    record = request.exchange
    assert (record.model, record.streaming, record.request_bytes) == ("m", True, len(body))
    assert record.request_body == body


def test_chunked_body_goes_up_counted():
    """Its framing was this hop's own."""
    request = run(Arriving(b"{}", UNKNOWN_LENGTH))
    assert request.headers == [(b"X", b"y"), (b"Content-Length", b"2")]


def test_a_body_announced_as_empty_is_none():
    """A POST with `Content-Length: 0` has nothing that could not be sent again, or name a model."""
    assert run(Arriving(b""), buffered=False).body == b""


def test_other_bodies_pass_by():
    """What is not JSON is still arriving when it goes up."""
    body = Arriving(b"x")
    request = run(body, buffered=False)
    assert request.body is body


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (b"/realtime?model=gpt-realtime", "gpt-realtime"),
        (b"/realtime?a=1&mod%65l=a%2Fb+c&model=second", "a/b c"),
        (b"/realtime", None),
        (b"/realtime?call_id=rtc_1", None),
    ],
)
def test_a_tunnel_names_its_model_in_the_query(target, model):
    """Logs and metrics of WebSockets tell what was called."""
    request = run(None, target=target, buffered=False, upgrade=True)
    assert request.exchange.model == model


def test_other_body_that_is_announced_too_large_goes_nowhere():
    """It was refused only once the upstream had been connected to and had got the head."""
    with pytest.raises(RequestTooLarge):
        run(Arriving(b"123456"), buffered=False)


@pytest.mark.parametrize("body", [Arriving(b"[]"), Arriving(b""), None])
def test_endpoint_with_required_members_needs_an_object(body):
    """Anything but an object is refused."""
    with pytest.raises(InvalidJSON):
        run(body, required=("model",))


def test_missing_member_is_named():
    """A request that the API would refuse costs no call."""
    with pytest.raises(MissingParameter):
        run(Arriving(b"{}"), required=("model",))


def test_json_without_rules_may_be_anything():
    """Only three endpoints are checked."""
    assert run(Arriving(b"not json")).document is None
    assert run(Arriving(b'{"model": 5}')).exchange.model is None


def test_encoded_body_passes_unlooked_at():
    """Compressed bytes are the upstream's to read."""
    request = run(Arriving(b"\x1f\x8b"), required=("model",), encoded=True)
    assert (request.body, request.document) == (b"\x1f\x8b", None)


def test_limit_is_asked_of_the_body():
    """A body above the limit is refused while it arrives."""
    with pytest.raises(RequestTooLarge):
        run(Arriving(b"{}"), limit=1)


@pytest.mark.parametrize(
    ("body", "ordinary"),
    [
        (b'{"a": 123456789012345678901234567890}', True),
        (b'{"a": %b}' % (b"1" * 5000), False),
        (b'{"a": "\\ud800"}', False),
        (b"[1]", False),
        (b"{", False),
    ],
    ids=["plain", "thousands of digits", "half a pair", "no object", "no JSON"],
)
@pytest.mark.parametrize("encoded", [False, True])
def test_only_what_every_reader_decodes_is_ordinary(body, ordinary, encoded):
    """The exchange log copies such a body as it is: Python's own reader fails on thousands of digits."""
    seen = run(body, limit=9000, encoded=encoded)
    assert seen.exchange.request_is_ordinary == (ordinary and not encoded)
