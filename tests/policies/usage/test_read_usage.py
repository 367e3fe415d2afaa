"""Exchanges get their usage: reported, asked for, or estimated."""

import gzip
import json
import zlib

import brotli
import fakes
import pytest
from fakes import delivered, outcome_of, result_of, through
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.usage.read_usage import FORGET_AFTER_S, ReadUsage
from openai_proxy.wire.documents import maybe_object

JSON = (b"Content-Type", b"application/json")
SSE = (b"Content-Type", b"text/event-stream; charset=utf-8")
USAGE = b'"usage":{"prompt_tokens":5,"completion_tokens":7}'
CHUNK = b'data: {"choices":[{"delta":{"content":"12345678"}}]}\n\n'
HIDDEN = b'data: {"choices":[],' + USAGE + b"}\n\n"
STREAM = CHUNK + HIDDEN + b"data: [DONE]\n\n"
BODY = b'{ "model":"m","stream":true,"messages":[{"content":"1234"}] }'
REFUSAL = b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}'


class KnownBody:
    whole = None

    def __init__(self, data):
        self.data = data
        self.length = len(data)
        self.discarded = False

    def deliverBody(self, protocol):
        protocol.makeConnection(self)
        protocol.dataReceived(self.data)
        protocol.connectionLost(Failure(ResponseDone()))

    def discard(self):
        self.discarded = True


class SilentBody(KnownBody):
    def deliverBody(self, protocol):
        protocol.makeConnection(self)

    def stopProducing(self):
        self.discarded = True


class Upstream:
    """Answers each call with the next of its scripted (status, headers, body)."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.seen = []

    async def __call__(self, request):
        self.seen.append(request)
        request.exchange.upstream = "default"
        status, headers, body = self.answers.pop(0)
        body = body if isinstance(body, KnownBody) else KnownBody(body)
        return ProxyResponse(status, b"X", list(headers), body)


def make_request(body=BODY, endpoint="chat/completions", headers=(), method=b"POST"):
    exchange = fakes.exchange(path="/v1/" + endpoint, endpoint=endpoint)
    return ProxyRequest(
        method=method,
        target=b"/" + endpoint.encode(),
        headers=list(headers),
        body=body,
        exchange=exchange,
        document=maybe_object(body) if isinstance(body, bytes) else None,
    )


def ask(request, upstream, stage=None, end=True):
    """Return what the client gets of one exchange."""
    response = result_of(through(stage or ReadUsage(True, lambda: 0.0), request, upstream))
    client = delivered(response.body)
    data = client.data
    for body_filter in response.filters:
        data = body_filter.feed(data) + body_filter.finish()
    if end:
        request.exchange.end(Outcome.COMPLETE, 1.0)
    return data


def leave(request, upstream):
    """Let the client of one exchange close when it has what the upstream has sent, before the stream's end."""
    response = result_of(through(ReadUsage(True, lambda: 0.0), request, upstream))
    client = delivered(response.body)
    data = client.data
    for body_filter in response.filters:
        data = body_filter.feed(data)
    request.exchange.end(Outcome.CLIENT_GONE, 1.0)


def test_usage_is_asked_for_and_hidden():
    """A stream reports its usage, and its client sees nothing of it."""
    request = make_request(headers=[(b"content-length", b"61"), (b"Accept-Encoding", b"gzip")])
    upstream = Upstream((200, [SSE], STREAM))
    assert ask(request, upstream) == CHUNK + b"data: [DONE]\n\n"
    (sent,) = upstream.seen
    assert sent.body == BODY[:-2] + b',"stream_options":{"include_usage":true} }'
    assert sent.document["stream_options"] == {"include_usage": True}
    assert sent.headers == [(b"content-length", b"%d" % len(sent.body)), (b"Accept-Encoding", b"identity")]
    assert request.exchange.usage == Usage(5, 7)


def test_the_extra_chunk_of_a_compressed_stream_is_hidden_too():
    """An upstream that compresses although it was asked not to shows the client nothing that it did not ask for."""
    request = make_request()
    upstream = Upstream((200, [SSE, (b"Content-Encoding", b"gzip")], gzip.compress(STREAM)))
    assert ask(request, upstream) == CHUNK + b"data: [DONE]\n\n"
    assert request.exchange.usage == Usage(5, 7)


@pytest.mark.parametrize("headers", [[], [(b"Content-Type", b"text/html; charset=utf-8")]])
@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_of_another_type_is_one_all_the_same(headers, asked):
    """Small servers leave the type that their framework gives; what was asked for decides, or how it begins."""
    request = make_request()
    request.exchange.streaming = asked
    is_read = asked or not headers
    shown = CHUNK + b"data: [DONE]\n\n" if is_read else STREAM
    assert ask(request, Upstream((200, headers, STREAM))) == shown
    assert request.exchange.usage == (Usage(5, 7) if is_read else None)


@pytest.mark.parametrize(
    "kind", [None, b"", b"text/plain", b"application/problem+json", b"application/octet-stream"]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_document_without_a_type_is_read(kind, size):
    """Its tokens were free; so were those of JSON that is labelled as something else."""
    headers = [] if kind is None else [(b"Content-Type", kind)]
    request = make_request(b'{"model":"m"}')
    body = b'{"choices":[],' + USAGE + b"}"
    assert ask(request, Upstream((200, headers, body))) == body
    assert request.exchange.usage == Usage(5, 7)


ZEROS = b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\n'


def test_zeros_after_a_usage_do_not_make_it_nothing():
    """Some gateways end a stream with an empty usage of their own."""
    request = make_request(b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}')
    request.exchange.streaming = True
    data = STREAM.replace(b"data: [DONE]", ZEROS + b"data: [DONE]")
    assert ask(request, Upstream((200, [SSE], data))) == data
    assert request.exchange.usage == Usage(5, 7)


def test_the_tier_of_the_answer_is_noted_and_the_model_of_one_without_a_price():
    """Its prices hold."""
    request = make_request(b'{"model":"m","service_tier":"flex"}')
    request.exchange.model = request.model
    body = b'{"model":"real","choices":[],' + USAGE + b',"service_tier":"priority"}'
    stage = ReadUsage(False, lambda: 0.0, None, lambda exchange: exchange.model == "m")
    ask(request, Upstream((200, [JSON], body)), stage)
    assert (request.exchange.service_tier, request.exchange.answered_model) == ("priority", "real")


def test_the_model_of_an_answer_is_noted_if_none_was_named():
    """A stored prompt names it: its price holds."""
    request = make_request(b'{"prompt":{"id":"pmpt_1"}}')
    body = b'{"model":"real","output":[],' + USAGE + b"}"
    stage = ReadUsage(False, lambda: 0.0, None, lambda exchange: exchange.model is None)
    ask(request, Upstream((200, [JSON], body)), stage)
    assert request.exchange.answered_model == "real"


@pytest.mark.parametrize("library", ["brotli", "zstandard"])
def test_usage_is_read_in_any_coding_that_clients_ask_for(library):
    """What an answer cost does not depend on how its client likes it compressed."""
    data = pytest.importorskip(library).compress(b'{"choices":[],' + USAGE + b"}")
    coding = (b"Content-Encoding", {"brotli": b"br", "zstandard": b"zstd"}[library])
    request = make_request(b'{"model":"m"}')
    assert ask(request, Upstream((200, [JSON, coding], data))) == data
    assert request.exchange.usage == Usage(5, 7)


@pytest.mark.parametrize(("kind", "decodes"), [(JSON, True), (SSE, True), ((b"Content-Type", b"a/b"), False)])
def test_what_is_read_outside_is_decoded(kind, decodes):
    """The removal of thoughts is outside and reads only plain answers."""
    data = gzip.compress(b'{"a":1}')
    request = make_request(b'{"model":"m"}')
    for wanted, expected in ((True, b'{"a":1}' if decodes else data), (False, data)):
        stage = ReadUsage(False, lambda: 0.0, lambda asked, wanted=wanted: wanted)
        upstream = Upstream((200, [kind, (b"Content-Encoding", b"gzip")], data))
        assert ask(request, upstream, stage, end=False) == expected


def test_a_compressed_error_passes_as_it_came():
    """Errors of the upstream are nobody's to change."""
    data = gzip.compress(b'{"error":1}')
    stage = ReadUsage(False, lambda: 0.0, lambda request: True)
    upstream = Upstream((500, [JSON, (b"Content-Encoding", b"gzip")], data))
    assert ask(make_request(), upstream, stage) == data


def test_other_options_survive():
    """Stream options of the client's stay; an explicit false is turned and the chunk hidden."""
    body = b'{"stream":true,"stream_options": {"include_obfuscation" : false,"include_usage":false}}'
    upstream = Upstream((200, [SSE], STREAM))
    assert HIDDEN not in ask(make_request(body), upstream)
    assert upstream.seen[0].body == body.replace(b'usage":false', b'usage":true')


@pytest.mark.parametrize(
    "options",
    [
        b'{"include_usage":0}',
        b'{"include_usage":"no"}',
        b'{"include_usage":"true"}',
        b'{"include_usage":null}',
        b'{"include_usage":[]}',
        b'{"include_usage":true,"Include_Usage":false}',
    ],
)
def test_only_true_asks_for_the_usage(options):
    """Half an answer to whether it is wanted is none: the usage is asked for, and hidden."""
    upstream = Upstream((200, [SSE], STREAM))
    request = make_request(b'{"stream":true,"stream_options":%b}' % options)
    assert HIDDEN not in ask(request, upstream)
    asked = json.loads(upstream.seen[0].body)["stream_options"]
    assert set(asked.values()) == {True}
    assert request.exchange.usage == Usage(5, 7)


def test_options_in_another_spelling_are_set_too():
    """A server that ignores case would take the last of them."""
    upstream = Upstream((200, [SSE], STREAM))
    request = make_request(b'{"stream":true,"Stream_Options":{"include_usage":false}}')
    request.odd_names = True
    assert HIDDEN not in ask(request, upstream)
    sent = json.loads(upstream.seen[0].body)
    assert sent["Stream_Options"] == sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        (b'{"stream":true,"stream_options":{"include_usage":true}}', "chat/completions"),
        (b'{"stream":true,"stream_options":"odd"}', "chat/completions"),
        (b'{"stream":false}', "chat/completions"),
        (b'{"stream":1}', "completions"),
        (b'{"stream":true}', "responses"),
        (b'{"input":"x"}', "embeddings"),
        (None, "audio/transcriptions"),
    ],
)
def test_requests_that_stay(body, endpoint):
    """Who asked already, does not stream, or speaks another API: the request is the same, all bytes pass."""
    request = make_request(body, endpoint)
    upstream = Upstream((200, [SSE], STREAM))
    assert ask(request, upstream) == STREAM
    assert upstream.seen == [request]
    assert request.exchange.usage == Usage(5, 7)


def test_nothing_is_asked_without_need():
    """Without injection requests stay and what is reported is read."""
    request = make_request()
    upstream = Upstream((200, [SSE], STREAM))
    assert ask(request, upstream, ReadUsage(False, lambda: 0.0)) == STREAM
    assert upstream.seen == [request]
    assert request.exchange.usage == Usage(5, 7)


def test_a_document_is_read():
    """A plain answer's usage is read and its bytes pass."""
    request = make_request(b'{"model":"m"}')
    body = b'{"choices":[], ' + USAGE + b"}"
    assert ask(request, Upstream((200, [JSON], body))) == body
    assert request.exchange.usage == Usage(5, 7)


@pytest.mark.parametrize(
    ("endpoint", "event"),
    [
        (
            "audio/speech",
            b'{"type":"speech.audio.done","usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}',
        ),
        (
            "audio/transcriptions",
            b'{"type":"transcript.text.done","text":"a","usage":{"input_tokens":5,"output_tokens":7}}',
        ),
        ("images/edits", b'{"type":"image_edit.completed","usage":{"input_tokens":5,"output_tokens":7}}'),
        (
            "threads/{id}/runs",
            b'{"object":"thread.run","usage":{"prompt_tokens":5,"completion_tokens":7}}',
        ),
    ],
)
def test_every_stream_that_reports_is_read(endpoint, event):
    """Speech, pictures and runs report what they cost in their last event."""
    stream = b"data: " + event + b"\n\n"
    request = make_request(b'{"model":"m"}', endpoint)
    assert ask(request, Upstream((200, [SSE], stream))) == stream
    assert request.exchange.usage == Usage(5, 7)
    # a client that closes at the last event has used as much
    request = make_request(b'{"model":"m"}', endpoint)
    leave(request, Upstream((200, [SSE], stream)))
    assert request.exchange.usage == Usage(5, 7)
    # and one that closes before has no usage: what pictures and sound cost is not estimated
    request = make_request(b'{"model":"m"}', endpoint)
    leave(request, Upstream((200, [SSE], stream.replace(b"usage", b"u"))))
    assert request.exchange.usage is None


@pytest.mark.parametrize("endpoint", ["responses/compact", "decisions", "edits"])
def test_every_document_that_reports_is_read(endpoint):
    """What compacting a conversation costs, or a decision, is in its answer."""
    request = make_request(b'{"model":"m"}', endpoint)
    body = b'{"object":"x","output":[],"usage":{"input_tokens":5,"output_tokens":7}}'
    assert ask(request, Upstream((200, [JSON], body))) == body
    assert request.exchange.usage == Usage(5, 7)


@pytest.mark.parametrize("request_", [make_request(method=b"GET"), make_request(endpoint="files")])
def test_other_requests_are_not_looked_at(request_):
    """What has no usage gets no filter."""
    assert ask(request_, Upstream((200, [SSE], STREAM))) == STREAM
    assert request_.exchange.usage is None


def test_an_upstream_that_refuses_is_asked_without():
    """A 400 that names stream_options never reaches the client, and is remembered for a while."""
    now = [0.0]
    stage = ReadUsage(True, lambda: now[0])
    refusal = KnownBody(REFUSAL)
    upstream = Upstream((400, [JSON], refusal), *[(200, [SSE], CHUNK)] * 3)
    request = make_request()
    assert ask(request, upstream, stage) == CHUNK
    assert upstream.seen[1] is request
    assert request.exchange.usage == Usage(1, 2, estimated=True)
    later = make_request()
    ask(later, upstream, stage)
    assert upstream.seen[2] is later
    now[0] = FORGET_AFTER_S
    ask(make_request(), upstream, stage)
    assert b"stream_options" in upstream.seen[3].body


@pytest.mark.parametrize(
    ("coding", "pack"), [(b"gzip", gzip.compress), (b"br", brotli.compress), (b"deflate", zlib.compress)]
)
def test_a_refusal_is_read_in_any_coding(coding, pack):
    """An upstream may compress its errors; ours still never reaches the client."""
    head = [JSON, (b"Content-Encoding", coding)]
    upstream = Upstream((400, head, pack(REFUSAL)), (200, [SSE], STREAM))
    request = make_request()
    assert ask(request, upstream) == STREAM
    assert upstream.seen[1] is request
    assert request.exchange.usage == Usage(5, 7)


def test_a_refusal_of_the_clients_own_is_not_remembered():
    """Nobody can make streams unpaid for others by what is wrong with a request of their own."""
    stage = ReadUsage(True, lambda: 0.0)
    upstream = Upstream((400, [JSON], REFUSAL), (400, [JSON], REFUSAL), (200, [SSE], STREAM))
    bad = make_request(BODY[:-2] + b',"stream_options":{"unheard_of":1}}')
    assert ask(bad, upstream, stage) == REFUSAL
    assert upstream.seen[1] is bad
    ask(make_request(), upstream, stage)
    assert b"include_usage" in upstream.seen[2].body


def test_a_stream_that_was_asked_for_in_a_compressed_body_is_estimated():
    """Its usage cannot be asked for; compressing a request does not make its tokens free."""
    request = make_request(b"x" * 40)
    request.encoded = True
    request.exchange.request_bytes = 40
    assert ask(request, Upstream((200, [SSE], CHUNK))) == CHUNK
    assert request.exchange.usage == Usage(10, 2, estimated=True)


def test_other_refusals_pass():
    """A 400 for another reason is the client's, whole, and nothing is asked twice."""
    upstream = Upstream((400, [JSON], b'{"error":{"message":"bad temperature"}}'))
    request = make_request()
    assert ask(request, upstream) == b'{"error":{"message":"bad temperature"}}'
    assert request.exchange.usage is None


def test_a_broken_off_stream_is_estimated():
    """A client that leaves in the middle has used what had come so far."""
    request = make_request()
    ask(request, Upstream((200, [SSE], CHUNK + b'data: {"choices":[{"delta":{"content":"12')), end=False)
    assert request.exchange.usage is None
    request.exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert request.exchange.usage == Usage(1, 3, estimated=True)


def test_a_hit_keeps_its_usage():
    """Usage that another stage knows is not replaced by an estimate."""
    request = make_request()
    request.exchange.usage = Usage(1, 2)
    ask(request, Upstream((200, [SSE], CHUNK)))
    assert request.exchange.usage == Usage(1, 2)


def test_a_client_that_leaves_during_a_refusal():
    """The upstream's body is not read on for nobody."""
    body = SilentBody(b"")
    stage = ReadUsage(True, lambda: 0.0)
    waiting = Deferred.fromCoroutine(stage(make_request(), Upstream((400, [JSON], body))))
    waiting.cancel()
    assert isinstance(outcome_of(waiting), CancelledError)
    assert body.discarded


def test_the_chunk_is_hidden_in_a_stream_that_is_labelled_as_json():
    """SDKs do not look at the label; a document that is one passes."""
    request = make_request()
    assert HIDDEN not in ask(request, Upstream((200, [JSON], STREAM)))
    assert request.exchange.usage == Usage(5, 7)
    document = b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
    request = make_request()
    assert ask(request, Upstream((200, [JSON], document))) == document
    assert request.exchange.usage == Usage(5, 7)


ERROR_BEHIND_200 = b'  \n {"error":{"message":"Provider returned error","code":502},"user_id":"u"}'


class UnknownBody(KnownBody):
    def __init__(self, data):
        super().__init__(data)
        self.length = None


@pytest.mark.parametrize("kind", [KnownBody, UnknownBody])
@pytest.mark.parametrize("asked", [b'{"model":"m"}', BODY])
def test_an_error_that_comes_behind_its_head_is_one(kind, asked):
    """Gateways send a 200 while they wait: the error that followed was a complete answer, and was charged."""
    request = make_request(asked)
    answered = Upstream((200, [JSON], kind(ERROR_BEHIND_200)))
    assert ask(request, answered) == ERROR_BEHIND_200
    exchange = request.exchange
    assert (exchange.outcome, exchange.error_code, exchange.usage) == (Outcome.UPSTREAM_ERROR, "502", None)


@pytest.mark.parametrize("asked", [b'{"model":"m"}', BODY])
@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b'[{"error":{"code":503,"status":"UNAVAILABLE"}}]', "503"),
        (b'{"choices":null,"usage":{"total_tokens":0},"base_resp":{"status_code":1008}}', "1008"),
    ],
)
def test_an_error_in_a_form_of_a_servers_own_is_one(document, code, asked):
    """Gemini's stand in a list, MiniMax' beside a usage of nothing: both were complete answers."""
    request = make_request(asked)
    assert ask(request, Upstream((200, [JSON], KnownBody(document)))) == document
    exchange = request.exchange
    assert (exchange.outcome, exchange.error_code) == (Outcome.UPSTREAM_ERROR, code)


@pytest.mark.parametrize("kind", [KnownBody, UnknownBody])
def test_a_long_document_is_no_error(kind):
    """Of an answer only the beginning is held."""
    request = make_request(b'{"model":"m"}')
    body = b'{"error":{"code":502},"choices":"' + b"x" * 20_000 + b'"}'
    assert ask(request, Upstream((200, [JSON], kind(body)))) == body
    assert request.exchange.outcome is Outcome.COMPLETE
