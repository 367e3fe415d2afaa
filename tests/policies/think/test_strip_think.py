"""Only chat answers that may hold thoughts get a filter."""

import json

import fakes
import pytest
from fakes import Body, Forward, Whole, result_of, through

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.think.splitter import ThinkRule
from openai_proxy.policies.think.strip_think import StripThink

STRIP = ThinkRule("strip")
JSON = (b"content-type", b"application/json; charset=utf-8")
SSE = (b"Content-Type", b"text/event-stream")
ANSWER = b'{"choices":[{"message":{"content":"<think>x</think>y"}}]}'
WANTED = b'{"choices":[{"message":{"content":"y"}}]}'


def make_request(method=b"POST", endpoint="chat/completions", model="m", headers=()):
    exchange = fakes.exchange(method=method.decode(), path="/v1/" + endpoint, endpoint=endpoint, model=model)
    return ProxyRequest(
        method=method,
        target=b"/" + endpoint.encode(),
        headers=list(headers),
        body=b"{}",
        exchange=exchange,
        document={"model": model},
    )


def run(stage, request, status=200, headers=(JSON,), answer=ANSWER):
    """Return what went upstream, and what became of an answer with thoughts."""
    streams = SSE in headers or request.exchange.streaming
    forward = Forward(ProxyResponse(status, b"OK", list(headers), body=Body()))
    response = result_of(through(stage, request, forward))
    body = b"data: " + answer.replace(b"message", b"delta") + b"\n\n" if streams else answer
    for body_filter in response.filters:
        assert not body_filter.transparent
        body = body_filter.feed(body) + body_filter.finish()
    return forward.requests[0], body


def test_a_document_loses_its_thoughts():
    """A plain answer is rewritten, and asked for without compression in the client's place."""
    request = make_request(headers=[(b"accept-encoding", b"gzip"), (b"X", b"1"), (b"Accept-Encoding", b"br")])
    forwarded, body = run(StripThink(STRIP), request)
    assert body == WANTED
    assert forwarded.headers == [(b"accept-encoding", b"identity"), (b"X", b"1")]


def test_a_stream_loses_its_thoughts():
    """A stream is rewritten too; without the client's wish the header line is added."""
    forwarded, body = run(
        StripThink(STRIP), make_request(), headers=(SSE, (b"Content-Encoding", b"identity"))
    )
    assert body == b"data: " + WANTED.replace(b"message", b"delta") + b"\n\n"
    assert forwarded.headers == [(b"Accept-Encoding", b"identity")]


@pytest.mark.parametrize("headers", [(JSON,), (SSE,)])
def test_the_answer_without_thinking_does_not_begin_inside_a_block(headers):
    """Of Qwen3 with `enable_thinking` off nothing was left: all of it was taken for a thought."""
    stage = StripThink(ThinkRule("strip", implicit_start=True))
    request = make_request()
    request.document["chat_template_kwargs"] = {"enable_thinking": False}
    answer = ANSWER.replace(b"<think>x</think>", b"")
    assert (
        answer.replace(b"message", b"delta" if SSE in headers else b"message")
        in run(stage, request, headers=headers, answer=answer)[1]
    )


@pytest.mark.parametrize("headers", [(), ((b"Content-Type", b"text/plain"),)])
def test_a_stream_of_another_type_loses_its_thoughts(headers):
    """Small servers leave the type that their framework gives; what was asked for decides."""
    request = make_request()
    request.exchange.streaming = True
    _, body = run(StripThink(STRIP), request, headers=headers)
    assert body == b"data: " + WANTED.replace(b"message", b"delta") + b"\n\n"


@pytest.mark.parametrize(
    "request_",
    [
        make_request(b"DELETE", endpoint="chat/completions/{id}"),
        make_request(endpoint="embeddings"),
        make_request(b"GET", endpoint="completions"),
        make_request(b"GET", endpoint="files/{id}/content"),
        make_request(endpoint="responses/input_tokens"),
    ],
)
def test_other_requests_pass_as_they_are(request_):
    """What is no chat is the same request, and its answer is not looked at."""
    assert run(StripThink(STRIP), request_) == (request_, ANSWER)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (404, (JSON,)),
        (206, (JSON,)),
        (200, ()),
        (200, ((b"content-type", b"text/plain"),)),
        (200, (JSON, (b"content-encoding", b"gzip"))),
    ],
)
def test_other_answers_pass_as_they_are(status, headers):
    """Errors, other types and what is compressed in spite of the request pass byte for byte."""
    assert run(StripThink(STRIP), make_request(), status, headers)[1] == ANSWER


def test_the_first_matching_model_counts():
    """A model may keep its thoughts or have tags of its own."""
    stage = StripThink(STRIP, [("keep-*", ThinkRule("keep")), ("*-r", ThinkRule("strip", "<think>x", "y"))])
    kept = make_request(model="keep-r")
    assert run(stage, kept) == (kept, ANSWER)
    assert run(stage, make_request(model="a-r"))[1] == ANSWER.replace(b"<think>x</think>y", b"")
    assert run(stage, make_request(model="other"))[1] == WANTED


class Filter:
    def __init__(self, transparent):
        self.transparent = transparent


@pytest.mark.parametrize(
    ("whole", "transparent", "filtered"),
    [
        (b'{"choices":[{"message":{"content":"a\\nb"}}]}', [], False),
        (b'{"choices":[{"message":{"content":"a\\nb"}}]}', [True], False),
        (b'{"choices":[{"message":{"content":"a\\nb"}}]}', [True, False], True),
        (b'{"choices":[{"message":{"content":"\\u003cthink>x</think>y"}}]}', [], True),
        (ANSWER, [], True),
    ],
)
def test_a_whole_answer_without_a_tag_keeps_its_framing(whole, transparent, filtered):
    """What is there at once and has no thoughts is the very same response: Content-Length and all."""
    given = ProxyResponse(200, b"OK", [JSON], Whole(whole), tuple(map(Filter, transparent)))
    response = result_of(through(StripThink(STRIP), make_request(), Forward(given)))
    assert (response is not given) == filtered
    assert len(response.filters) == len(transparent) + filtered


def model_answer(model, text="<think>x</think>y"):
    return {"model": model, "choices": [{"message": {"content": text}}]}


def stored(stage, method, endpoint, body, headers=(JSON,), target=None):
    """Return the target that is asked for, and what becomes of a stored answer."""
    request = make_request(method, endpoint=endpoint, model=None)
    if target is not None:
        request = request.evolve(target=target)
    forward = Forward(ProxyResponse(200, b"OK", list(headers), body=Body()))
    for body_filter in result_of(through(stage, request, forward)).filters:
        body = b"".join([body_filter.feed(body[i : i + 7]) for i in range(0, len(body), 7)])
        body += body_filter.finish()
    (sent,) = forward.requests
    assert (b"Accept-Encoding", b"identity") in sent.headers
    return sent.target, body


@pytest.mark.parametrize(
    ("method", "endpoint"),
    [
        (b"GET", "chat/completions/{id}"),
        (b"POST", "chat/completions/{id}"),
        (b"GET", "responses/{id}"),
        (b"POST", "responses/{id}/cancel"),
    ],
)
@pytest.mark.parametrize(("model", "text"), [("r1-8b", "y"), ("other", "<think>x</think>y"), ("served", "y")])
def test_a_stored_answer_goes_by_its_own_model(method, endpoint, model, text):
    """The request names no model; the answer does, perhaps as the upstream calls it."""
    stage = StripThink(ThinkRule("keep"), [("r1*", STRIP)], [("served", STRIP)])
    _, body = stored(stage, method, endpoint, json.dumps(model_answer(model)).encode())
    assert json.loads(body) == model_answer(model, text)


def test_a_list_of_stored_answers_goes_by_their_models():
    """Each answer of a list has a rule of its own."""
    answers = [model_answer("r1"), model_answer("other")]
    document = {"object": "list", "data": answers, "has_more": False}
    stage = StripThink(ThinkRule("keep"), [("r1*", STRIP)])
    _, body = stored(stage, b"GET", "chat/completions", json.dumps(document).encode())
    assert json.loads(body) == {**document, "data": [model_answer("r1", "y"), answers[1]]}


@pytest.mark.parametrize("model", ["r1", "other"])
@pytest.mark.parametrize(
    ("query", "asked", "first"),
    [
        (b"?stream=true", b"?stream=true", 0),
        (b"?stream=true&starting_after=2", b"?stream=true", 3),
        (b"?starting_after=1&stream=true", b"?stream=true", 2),
    ],
)
def test_a_stream_that_goes_on_has_no_thoughts(model, query, asked, first):
    """If a stream goes on within a thought, it is asked for from its beginning, and what is old is left out."""
    deltas = ["<think>", "x", "x</thi", "nk>y", "z"]
    events = [{"type": "response.created", "sequence_number": 0, "response": {"model": model}}]
    events += [
        {
            "type": "response.output_text.delta",
            "sequence_number": number,
            "output_index": 0,
            "content_index": 0,
            "delta": delta,
        }
        for number, delta in enumerate(deltas, 1)
    ]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    stage = StripThink(ThinkRule("keep"), [("r1*", STRIP)])
    target, body = stored(stage, b"GET", "responses/{id}", stream, (SSE,), b"/responses/r" + query)
    found = [json.loads(each[6:]) for each in body.decode().split("\n\n") if each]
    assert target == b"/responses/r" + asked
    assert [event["sequence_number"] for event in found] == list(range(first, 6))
    text = "".join(event.get("delta", "") for event in found)
    assert text == ("yz" if model == "r1" else "".join(deltas[max(first - 1, 0) :]))


LONG = b"x" * 300_000
DOCUMENT = b'{"choices":[{"message":{"content":"<think>' + LONG + b'</think>y"}}]}'
EVENT = b"data: " + DOCUMENT.replace(b"message", b"delta") + b"\n\n"


def held_by(buffered, *, stored=False, headers=(SSE,), target=b"/x"):
    """Return a filter of a stage that counts in `buffered`, and the exchange."""
    rules = ThinkRule("keep") if stored else STRIP
    stage = StripThink(rules, [("m", STRIP)], buffered=buffered)
    endpoint, method = ("responses/{id}", b"GET") if stored else ("chat/completions", b"POST")
    request = make_request(method, endpoint)
    request.target = target
    forward = Forward(ProxyResponse(200, b"OK", list(headers), body=Body()))
    (body_filter,) = result_of(through(stage, request, forward)).filters
    return body_filter, request.exchange


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"headers": (JSON,)}, DOCUMENT),
        ({"headers": (JSON,), "stored": True}, DOCUMENT[:-1] + b',"model":"m"}'),
        ({}, EVENT),
        ({"stored": True}, EVENT.replace(b"}]}", b'}],"model":"m"}')),
    ],
    ids=["document", "stored document", "stream", "stored stream"],
)
@pytest.mark.parametrize("step", [64 * 1024, 1_000_000], ids=["in reads", "at once"])
def test_what_is_held_of_an_answer_counts_with_all_that_is_held(options, body, step):
    """Many long answers at once cannot take more memory than limits.buffered_bytes; what is let go of is free."""
    buffered = BufferedBytes(1_000_000)
    body_filter, ended = held_by(buffered, **options)
    out, most = b"", 0
    for at in range(0, len(body) - 10, step):
        out += body_filter.feed(body[at : min(at + step, len(body) - 10)])
        most = max(most, buffered.held_bytes)
    assert len(body) - 10 - step <= most <= len(body)
    out += body_filter.feed(body[-10:]) + body_filter.finish()
    assert LONG not in out
    assert buffered.held_bytes == 0
    ended.end(Outcome.COMPLETE, 1.0)
    assert buffered.held_bytes == 0


@pytest.mark.parametrize(
    ("options", "body"), [({"headers": (JSON,)}, DOCUMENT), ({}, EVENT)], ids=["document", "stream"]
)
def test_an_answer_that_is_cut_is_let_go_of(options, body):
    """By its upstream or by its client: then nothing finishes its filter."""
    buffered = BufferedBytes(1_000_000)
    body_filter, ended = held_by(buffered, **options)
    body_filter.feed(body[:-10])
    assert buffered.held_bytes > 0
    ended.end(Outcome.CLIENT_GONE, 1.0)
    assert buffered.held_bytes == 0


@pytest.mark.parametrize(
    ("options", "body"), [({"headers": (JSON,)}, DOCUMENT), ({}, EVENT)], ids=["document", "stream"]
)
def test_an_answer_for_which_there_is_no_room_passes_as_it_is(options, body):
    """As one that is too large does; and the next event of a stream is changed again."""
    buffered = BufferedBytes(100_000)
    body_filter, _ = held_by(buffered, **options)
    out = b"".join(body_filter.feed(body[at : at + 50_000]) for at in range(0, len(body), 50_000))
    assert buffered.held_bytes <= 100_000
    if body is EVENT:
        small = b"data: " + ANSWER.replace(b"message", b"delta") + b"\n\n"
        out += body_filter.feed(small)
        body += small.replace(b"<think>x</think>", b"")
    assert out + body_filter.finish() == body
    assert buffered.held_bytes == 0
