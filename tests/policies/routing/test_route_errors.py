"""Errors with status 200, for which another upstream is asked."""

import pytest
from fakes import Body, Whole, delivered, read, results_of
from policies.routing.routed import CHAT, JSON, SDK, STREAM, A, B, Routed, answer

from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.policies.routing.attempt import FIRST_EVENT_S

GOOD = (
    b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":"x"}}]}\n\ndata: [DONE]\n\n'
)
BAD = b'data: {"error":{"message":"Provider returned error","code":502}}\n\n'
QUOTA = b'event: error\ndata: {"type":"error","code":"insufficient_quota","message":"m"}\n\n'


@pytest.mark.parametrize("first", [BAD, b": PROCESSING\n\n" + BAD, QUOTA, BAD.rstrip()])
@pytest.mark.parametrize("headers", [[], SDK])
def test_an_error_in_the_first_event_goes_elsewhere(first, headers):
    """The client sees only the other upstream's stream."""
    routed = Routed()
    routed.answers.update(a=[answer(200, first, STREAM)], b=[answer(200, GOOD, STREAM)])
    assert routed.ask(document={**CHAT, "stream": True}, headers=headers) == (200, "ab")
    assert read(routed.result) == GOOD


def test_errors_in_the_first_event_count_like_statuses():
    """A model that fails so is sick, a spent quota rests its key."""
    routed = Routed()
    routed.answers["a"] = [answer(200, BAD, STREAM) for _ in range(5)]
    assert [routed.ask(document=CHAT)[1] for _ in range(6)] == ["ab"] * 5 + ["b"]
    routed = Routed()
    routed.answers["a"] = [answer(200, QUOTA, STREAM)]
    assert [routed.ask(document={"model": f"m{n}"})[1] for n in range(2)] == ["ab", "b"]
    routed = Routed()
    routed.answers["a"] = [answer(200, BAD.replace(b"502", b"402"), STREAM)]
    assert [routed.ask(document={"model": f"m{n}"})[1] for n in range(2)] == ["ab", "b"]


def test_errors_everywhere_pass_as_they_came():
    """The last one, byte for byte."""
    routed = Routed()
    routed.answers.update(a=[answer(200, BAD, STREAM)], b=[answer(200, QUOTA, STREAM)])
    assert routed.ask(document=CHAT) == (200, "ab")
    assert read(routed.result) == QUOTA


@pytest.mark.parametrize(
    ("kwargs", "headers", "upstreams"),
    [
        ({}, [STREAM], [A]),
        ({"endpoint": "threads/runs"}, [STREAM], [A, B]),
        ({"body": object()}, [STREAM], [A, B]),
        ({}, [(b"content-type", b"application/octet-stream")], [A, B]),
    ],
)
def test_what_cannot_go_elsewhere_is_not_looked_at(kwargs, headers, upstreams):
    """Its bytes pass untouched."""
    routed = Routed(upstreams)
    response = answer(200, BAD, *headers)
    routed.answers["a"] = [response]
    assert routed.ask(**kwargs) == (200, "a")
    assert routed.result is response


def test_a_good_first_event_passes_at_once_and_the_rest_as_it_comes():
    """Nothing more of the stream is waited for."""
    routed = Routed()
    body = Body()
    routed.answers["a"] = [ProxyResponse(200, b"", [STREAM], body)]
    results = results_of(routed.start(document=CHAT))
    body.feed(b": hold on\n\n")
    assert results == []
    body.feed(GOOD[:30])
    assert results == []
    body.feed(GOOD[30:90])
    assert results[0].status == 200
    assert routed.clock.getDelayedCalls() == []
    reader = delivered(results[0].body)
    assert reader.data == b": hold on\n\n" + GOOD[:90]
    body.feed(GOOD[90:])
    body.end()
    assert reader.data == b": hold on\n\n" + GOOD


def test_a_stream_that_says_nothing_is_not_held_back_for_ever():
    """After some seconds of comments the head goes out, and keeps the client's connection alive."""
    routed = Routed()
    body = Body()
    routed.answers["a"] = [ProxyResponse(200, b"", [STREAM], body)]
    results = results_of(routed.start(document=CHAT))
    body.feed(b": hold on\n\n")
    routed.clock.advance(FIRST_EVENT_S - 1)
    assert results == []
    routed.clock.advance(1)
    assert results[0].status == 200
    reader = delivered(results[0].body)
    body.feed(BAD)
    assert reader.data == b": hold on\n\n" + BAD


def test_an_error_document_after_a_200_goes_elsewhere():
    """As gateways answer without a stream; what has a usage is an answer."""
    routed = Routed()
    document = b'{"error":{"message":"no","code":502},"user_id":"u"}'
    routed.answers["a"] = [ProxyResponse(200, b"", [JSON], Whole(document))]
    assert routed.ask(document=CHAT) == (200, "ab")
    answered = b'{"id":"resp_1","error":null,"usage":{"input_tokens":1}}'
    routed.answers["a"] = [ProxyResponse(200, b"", [JSON], Whole(answered))]
    assert routed.ask(document=CHAT) == (200, "a")
