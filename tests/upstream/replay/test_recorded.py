"""What was answered, as a line of the exchange log has it."""

import json

import pytest
from upstream.replay.recordings import EVENTS, line

from openai_proxy.upstream.replay.recorded import answer_of_line


def test_a_raw_answer_is_given_as_it_came():
    """Redacted headers and those of the hop are left out; the length is the body's."""
    headers = {
        "Content-Type": "application/json",
        "Set-Cookie": "[redacted]",
        "Transfer-Encoding": "chunked",
        "Content-Length": "999",
        "bad name": "x",
        "x-bad": "a\r\nb",
    }
    found = answer_of_line(line(raw=[[1.5, '{"a"'], [2, {"base64": "OjF9"}]], headers=headers))
    assert (found.status, found.reason, found.head_s) == (200, b"Fine", 1.0)
    assert found.chunks == [(1.5, b'{"a"'), (2.0, b":1}")]
    assert found.headers == [(b"Content-Type", b"application/json"), (b"Content-Length", b"7")]


def test_json_without_raw_is_rendered():
    """And sound from its base64; a coding that was taken off is not announced."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    found = answer_of_line(line(answer={"a": 1}, headers=headers))
    assert found.chunks == [(3.0, b'{"a":1}')]
    assert (b"Content-Encoding", b"gzip") not in found.headers
    opaque = {"bytes": 2, "sha256": "0", "base64": "AAE="}
    assert answer_of_line(line(answer=opaque)).chunks == [(3.0, b"\0\1")]
    assert answer_of_line(line(answer=None)).chunks == []


def test_a_chat_stream_without_raw_is_made_anew():
    """One delta a choice; the usage if it is asked for."""
    message = {"role": "assistant", "content": "hi", "tool_calls": [{"id": "c"}]}
    body = {
        "id": "1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"a": 1},
    }
    made = line(answer=body, headers={"Content-Type": "text/event-stream"})
    events = [data for _, data in answer_of_line(made, with_usage=True).chunks]
    assert events[-1] == b"data: [DONE]\n\n"
    first, last, usage = (json.loads(each[6:]) for each in events[:-1])
    assert first["choices"][0]["delta"]["content"] == "hi"
    assert first["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "id": "c"}]
    assert (last["choices"][0]["finish_reason"], usage["usage"]) == ("stop", {"a": 1})
    assert len(answer_of_line(made).chunks) == 3


def test_a_stream_that_told_no_usage_has_the_counts_of_its_line():
    """Whoever recorded it may not have asked, and what is asked for is no part of the match."""
    body = {"id": "1", "choices": []}
    counted = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "estimated": False}
    made = line(answer=body, headers=EVENTS, usage=counted)
    chunks = [data for _, data in answer_of_line(made, with_usage=True).chunks]
    assert json.loads(chunks[0][6:])["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
    }
    assert len(answer_of_line(made).chunks) == 1
    assert len(answer_of_line(line(answer=body, headers=EVENTS, usage=None), with_usage=True).chunks) == 1


@pytest.mark.parametrize(
    ("method", "status", "stated", "lengths"),
    [
        ("HEAD", 200, "70", [b"70"]),
        ("HEAD", 200, "x", []),
        ("DELETE", 204, None, []),
        ("GET", 304, None, []),
        ("DELETE", 200, "70", [b"0"]),
    ],
)
def test_what_has_no_body_has_the_length_that_was_stated(method, status, stated, lengths):
    """HEAD was answered with `Content-Length: 0`, and so was 204, for which it is forbidden (RFC 9110 §8.6)."""
    headers = {"Content-Length": stated} if stated else {}
    request, response = {"method": method}, {"status_code": status}
    found = answer_of_line(line(raw=[], headers=headers, request=request, response=response))
    assert [value for name, value in found.headers if name == b"Content-Length"] == lengths


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"outcome": "client_gone"}, "not complete"),
        ({"response": {"status_code": None}}, "no status"),
        ({"response": {"raw": {"status_line": "x", "truncated": True}}}, "longer"),
        ({"response": {"raw": {"status_line": "x", "redacted": True}}}, "credentials"),
        ({"raw": "x"}, "chunks"),
        ({"raw": [[1]]}, "chunks"),
        ({"raw": [[1, {"base64": "?"}]]}, "chunks"),
        ({"raw": [[1, 7]]}, "chunks"),
        ({"answer": {"bytes": 1, "sha256": "0", "truncated": True}}, "longer"),
        ({"answer": {"bytes": 1, "sha256": "0", "base64": "?"}}, "base64"),
        ({"headers": EVENTS, "answer": {"chunks": []}}, "raw=true"),
        ({"headers": EVENTS, "answer": {"choices": [1]}}, "raw=true"),
        ({"headers": EVENTS, "answer": {"object": "text_completion", "choices": []}}, "raw=true"),
    ],
)
def test_what_cannot_be_replayed_says_why(changes, why):
    """For the check of a cassette."""
    with pytest.raises(ValueError, match=why):
        answer_of_line(line(**changes))
