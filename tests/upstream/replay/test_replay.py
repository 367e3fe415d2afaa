"""Recorded answers: how they are found, and how they are given."""

import base64
import gzip
import json
import os
import random

import fakes
import pytest
from fakes import exchange, through
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.upstream_errors import UpstreamTimeout
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.replay import cassette as cassette_module
from openai_proxy.upstream.replay import files as files_module
from openai_proxy.upstream.replay.cassette import Cassette, reader
from openai_proxy.upstream.replay.faults import FaultRule, disconnected, find_fault, stalled
from openai_proxy.upstream.replay.forward import ReplayForward, ReplayRules
from openai_proxy.upstream.replay.match import (
    asked_for_bytes,
    asked_for_json,
    asked_of_line,
    first_difference,
)
from openai_proxy.upstream.replay.recorded import answer_of_line
from openai_proxy.wire.fault_kinds import parse_fault

IGNORED = frozenset(("user", "stream_options"))


def line(body=None, answer=None, **changes):
    """Return a line of the exchange log; `raw` are its chunks."""
    raw = changes.pop("raw", None)
    headers = changes.pop("headers", {"Content-Type": "application/json", "x-request-id": "req_1"})
    request = {"method": "POST", "path": "/v1/chat/completions", "headers": {}, "body": body}
    request |= changes.pop("request", {})
    response = {"status_code": 200, "headers": headers, "body": answer, "streaming": False}
    if raw is not None:
        response["raw"] = {"status_line": "HTTP/1.1 200 Fine", "chunks": raw}
    response |= changes.pop("response", {})
    return {
        "timestamp": "2026-01-01T00:00:00.000Z",
        "request": request,
        "response": response,
        "outcome": "complete",
        "first_byte_s": 1.0,
        "duration_s": 3.0,
        **changes,
    }


# ---- what is the same request


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("POST", "/a", {"x": 1, "y": [2]}), ("POST", "/a", {"y": [2], "x": 1}), True),
        (("POST", "/a", {"x": 1, "user": "me"}), ("POST", "/a", {"x": 1, "user": "you"}), True),
        (("POST", "/a?b=1&c=2", {}), ("POST", "/a?c=2&b=1", {}), True),
        (("POST", "/a/", {}), ("POST", "/a", {}), True),
        (("POST", "/a", {"x": 1}), ("POST", "/a", {"x": 2}), False),
        (("POST", "/a", {"x": {"user": 1}}), ("POST", "/a", {"x": {"user": 2}}), False),
        (("POST", "/a", {}), ("PUT", "/a", {}), False),
        (("POST", "/a?b=1", {}), ("POST", "/a", {}), False),
        (("POST", "/a", {"x": "\ud800"}), ("POST", "/a", {"x": "\ud800"}), True),
    ],
)
def test_json_counts_as_values(one, other, same):
    """Not by its bytes; what is ignored is ignored at the top only."""
    assert (asked_for_json(*one, IGNORED).key == asked_for_json(*other, IGNORED).key) is same


def form(boundary, part):
    return b'--%b\r\nContent-Disposition: form-data; name="a"\r\n\r\n%b\r\n--%b--\r\n' % (
        boundary,
        part,
        boundary,
    )


def test_forms_count_by_their_parts():
    """The boundary is another one each time."""

    def asked(boundary, part):
        kinds = [b"multipart/form-data; boundary=" + boundary]
        return asked_for_bytes("POST", "/files", form(boundary, part), kinds).key

    assert asked(b"one", b"x") == asked(b"two", b"x")
    assert asked(b"one", b"x") != asked(b"one", b"y")
    assert asked_for_bytes("POST", "/a", b"x", ()).key != asked_for_bytes("POST", "/a", b"y", ()).key


def test_a_line_is_what_was_asked():
    """With its target if there is one, else by its path."""
    body = {"model": "m", "user": "me"}
    found = asked_of_line(line(body), IGNORED)
    assert found.key == asked_for_json("POST", "/chat/completions", {"model": "m"}, IGNORED).key
    request = {"target": "/files?limit=2", "method": "GET", "body": None}
    assert (
        asked_of_line(line(request=request), IGNORED).key
        == asked_for_bytes("GET", "/files?limit=2", b"", ()).key
    )
    data = form(b"b", b"x")
    opaque = {"bytes": len(data), "sha256": "0", "base64": base64.b64encode(data).decode()}
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    found = asked_of_line(line(opaque, request={"headers": headers}), IGNORED)
    kinds = [b"multipart/form-data; boundary=c"]
    assert found.key == asked_for_bytes("POST", "/chat/completions", form(b"c", b"x"), kinds).key


@pytest.mark.parametrize(
    "body",
    [{"bytes": 9, "sha256": "0", "truncated": True}, {"bytes": 9, "sha256": "0", "base64": "?"}],
)
def test_a_request_that_is_not_whole_is_none(body):
    """Nothing could be compared."""
    with pytest.raises(ValueError, match="the body of its request"):
        asked_of_line(line(body), IGNORED)


@pytest.mark.parametrize(
    ("recorded", "asked", "path"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": 1}, {"b": 1}, "a"),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, "a[1].b"),
        ({"a": [1]}, {"a": [1, 2]}, "a[1]"),
        ({"a b c": 1}, {}, "(a member)"),
        (None, {"a": 1}, ""),
    ],
)
def test_the_first_difference_is_named_without_values(recorded, asked, path):
    """Names only."""
    assert first_difference(recorded, asked) == path


# ---- what was answered


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


EVENTS = {"Content-Type": "text/event-stream"}


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


# ---- faults


@pytest.mark.parametrize(
    "kind", ["status:200", "status:600", "status:4.5", "slow", "slow:x", "nothing:1", "stall_s:-1"]
)
def test_a_kind_of_fault_that_is_none_is_refused(kind):
    """The start says what there is."""
    with pytest.raises(ValueError, match=r"status|whole"):
        parse_fault(kind)


def test_faults_strike_at_their_rate_and_the_same_in_every_run():
    """By endpoint and model; another seed strikes others."""

    def run(seed):
        rules = [FaultRule(parse_fault("status:429"), "chat/*", "gpt-*", 0.5, seed)]
        assert find_fault(rules, "embeddings", "gpt-4o") is None
        assert find_fault(rules, "chat/completions", "o3") is None
        return [find_fault(rules, "chat/completions", "gpt-4o") is not None for _ in range(100)]

    assert run(1) == run(1) != run(2)
    assert 30 < sum(run(1)) < 70


def cut(chunks, events):
    came, steps = [], disconnected(iter([(0.0, each) for each in chunks]), events)
    try:
        for _, data in steps:
            came.append(data)
    except Exception as error:
        return b"".join(came), type(error).__name__
    return b"".join(came), None


@pytest.mark.parametrize(
    ("events", "came"),
    [(0, b""), (1, b"a\n\n"), (2, b"a\n\nb\n\n"), (3, b"a\n\nb\n\nc\n\n"), (9, b"a\n\nb\n\nc\n\n")],
)
def test_a_disconnection_comes_after_so_many_events(events, came):
    """However they were cut into chunks."""
    assert cut([b"a\n\nb\n\n", b"c\n\n"], events) == (came, "Cut")


def test_a_stall_comes_before_the_first_part():
    """And only there."""
    assert list(stalled(iter([(1, b"a"), (1, b"b")]), 5)) == [(6, b"a"), (1, b"b")]


# ---- files


def write(directory, *lines, name="a.jsonl", tail=b""):
    directory.mkdir(exist_ok=True)
    text = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
    (directory / name).write_bytes(text + tail)
    return directory


def load(directory):
    warnings = []
    return Cassette(directory, reader(IGNORED), warnings.append), warnings


def test_lines_are_indexed_in_the_order_of_their_time(tmp_path):
    """Whichever file they stand in."""
    late = line({"a": 1}, {"n": 2}, timestamp="2026-01-02")
    write(tmp_path, late, line({"a": 2}, {"n": 9}))
    write(tmp_path, line({"a": 1}, {"n": 1}, timestamp="2026-01-01"), name="b.jsonl")
    cassette, warnings = load(tmp_path)
    positions = cassette.find(asked_of_line(late, IGNORED).key)
    assert [cassette.load(position)["response"]["body"]["n"] for position in positions] == [1, 2]
    assert (len(cassette), warnings, cassette.find(b"x" * 16)) == (3, [], [])
    assert len(cassette._index) <= 48 * 3


def test_bad_lines_are_warned_of_and_torn_ones_left_out(tmp_path, monkeypatch):
    """What cannot be replayed by its nature is no fault of anybody."""
    monkeypatch.setattr(files_module, "LONGEST_LINE_BYTES", 3000)
    good = json.dumps(line({"a": 1}, {})).encode() + b"\n"
    write(tmp_path, {"outcome": "complete"}, line({"a": 1}, outcome="timeout"), line(raw="x"))
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"x" * 10_000 + b"\n" + b"\n" + b"[]\n" + good + good[:-5])
    cassette, warnings = load(tmp_path)
    assert len(cassette) == 1
    assert [each.partition(" ")[0] for each in warnings] == ["a.jsonl:1", "a.jsonl:4", "a.jsonl:6"]


def packed(directory, name, *lines):
    (directory / name).write_bytes(
        gzip.compress(b"".join(json.dumps(each).encode() + b"\n" for each in lines))
    )


def test_compressed_files_are_replayed_beside_others(tmp_path):
    """As logrotate or a careful person leaves them; what is asked for again is read again."""
    long = "x" * 100_000
    first = line({"a": 1}, {"n": 1}, timestamp="2026-01-01")
    packed(tmp_path, "old.jsonl.gz", line({"a": 2}, {"n": long}), first)
    packed(tmp_path, "older.jsonl.gz", line({"a": 3}, {"n": 3}))
    write(tmp_path, line({"a": 1}, {"n": 2}, timestamp="2026-01-02"))
    cassette, warnings = load(tmp_path)
    assert (len(cassette), warnings) == (4, [])

    def answers(body):
        positions = cassette.find(asked_of_line(line(body), IGNORED).key)
        return [cassette.load(position)["response"]["body"]["n"] for position in positions]

    for _ in range(2):
        assert [answers({"a": n}) for n in (1, 2, 3)] == [[1, 2], [long], [3]]


def test_a_compressed_file_that_is_torn_is_read_as_far_as_it_goes(tmp_path):
    """And said; so is one that is none."""
    whole = [line({"a": n}, {"n": random.Random(n).randbytes(500).hex()}) for n in range(100)]
    packed(tmp_path, "a.jsonl.gz", *whole)
    data = (tmp_path / "a.jsonl.gz").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(data[: len(data) // 2])
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip\n")
    cassette, warnings = load(tmp_path)
    assert 10 < len(cassette) < 90
    assert warnings == [f"{name}.jsonl.gz is torn: what follows is not replayed" for name in "ab"]


def test_what_is_unpacked_has_a_bound(tmp_path, monkeypatch):
    """All compressed files of a directory together; no disk is filled by a small file."""
    one = len(json.dumps(line({"a": 0}, {}))) + 1
    monkeypatch.setattr(cassette_module, "MOST_UNPACKED_BYTES", one * 15)
    for name in ("a", "b"):
        packed(tmp_path, f"{name}.jsonl.gz", *(line({name: n}, {}) for n in range(10)))
    cassette, warnings = load(tmp_path)
    assert 10 <= len(cassette) <= 15
    assert warnings == ["b.jsonl.gz is longer than what is unpacked: its end is not replayed"]


def test_nothing_stays_open_when_a_cassette_goes(tmp_path):
    """A reload makes another one."""
    packed(tmp_path, "a.jsonl.gz", line({"a": 1}, {}))
    before = set(os.listdir("/proc/self/fd"))
    cassette, _ = load(tmp_path)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    del cassette
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_directory_that_is_none_is_an_error(tmp_path):
    """The start stops."""
    with pytest.raises(OSError, match="is no directory"):
        load(tmp_path / "none")


# ---- answers


class Reader(fakes.Reader):
    def __init__(self, response):
        super().__init__()
        response.body.deliverBody(self)


class World:
    """A replay of some lines."""

    def __init__(self, directory, *lines, live=None, **rules):
        self.clock = Clock()
        timeouts = UpstreamTimeouts(first_byte=rules.pop("first_byte", 600), idle=rules.pop("idle", 600))
        self.forward = ReplayForward(
            "r",
            load(write(directory, *lines))[0],
            ReplayRules(IGNORED, **rules),
            timeouts,
            BufferedBytes(1 << 20),
            lambda value: value,
            lambda text: text,
            self.clock,
            self.clock.seconds,
            live,
        )

    def ask(self, document, method=b"POST"):
        request = ProxyRequest(
            method,
            b"/chat/completions",
            [(b"Content-Type", b"application/json")],
            json.dumps(document).encode(),
            exchange(),
            endpoint="chat/completions",
            document=document,
        )
        self.exchange = request.exchange
        self.ends = []
        through(self.forward, request).addBoth(self.ends.append)
        return self.ends[0] if self.ends else None

    def body(self, document):
        return json.loads(Reader(self.ask(document)).data)


@pytest.mark.parametrize(
    ("repeat", "given"),
    [("last", [1, 2, 2, 2]), ("cycle", [1, 2, 1, 2]), ("error", [1, 2, None, None])],
)
def test_answers_of_one_request_come_in_turn(tmp_path, repeat, given):
    """What follows is a setting."""
    lines = [line({"a": 1}, {"n": n}, timestamp=f"2026-01-0{n}") for n in (1, 2)]
    world = World(tmp_path, *lines, repeat=repeat)
    assert [world.body({"a": 1, "user": "me"}).get("n") for _ in given] == given
    if repeat == "error":
        assert "replay.repeat" in world.body({"a": 1})["error"]["message"]


def test_a_miss_names_the_nearest_and_where_it_differs(tmp_path):
    """Never what anybody wrote."""
    world = World(
        tmp_path, line({"model": "m", "messages": [{"content": "secret one"}]}, {}), line({"x": 1}, {})
    )
    response = world.ask({"model": "m", "messages": [{"content": "secret two"}]})
    error = json.loads(Reader(response).data)["error"]
    assert (response.status, error["code"], error["param"]) == (404, "not_recorded", None)
    assert "2026-01-01T00:00:00.000Z and differs in messages[0].content" in error["message"]
    assert "secret" not in error["message"]
    assert (b"x-should-retry", b"false") in response.headers


def test_a_miss_may_go_live(tmp_path):
    """The attempt is counted there."""

    async def live(request):
        return "live"

    world = World(tmp_path, line({"a": 1}, {}), live=live)
    assert world.ask({"a": 2}) == "live"
    assert world.exchange.attempts == 0
    assert world.ask({"a": 1}).status == 200
    assert world.exchange.attempts == 1


def test_times_are_those_of_the_record(tmp_path):
    """Times the factor; a head that takes too long is a timeout."""
    recorded = line({"a": 1}, raw=[[1.0, "a"], [3.0, "b"]], headers=EVENTS)
    world = World(tmp_path, recorded, pace=0.5)
    assert world.ask({"a": 1}) is None
    world.clock.advance(0.5)
    reader = Reader(world.ends[0])
    assert reader.data == b"a"
    world.clock.advance(1.0)
    assert (reader.data, type(reader.reason)) == (b"ab", ResponseDone)
    world = World(tmp_path, recorded, pace=0.5, first_byte=0.25)
    world.ask({"a": 1})
    world.clock.advance(0.25)
    assert world.ends[0].check(UpstreamTimeout)
    assert world.exchange.upstream_error_kinds == [("r", "timeout_first_byte")]


def test_a_head_request_has_no_body(tmp_path):
    """Its own recording is asked for."""
    world = World(tmp_path, line({"a": 1}, {"n": 1}, request={"method": "HEAD"}))
    assert Reader(world.ask({"a": 1}, b"HEAD")).data == b""


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("status:429", 429, ResponseDone),
        ("disconnect_after:0", 200, ConnectionLost),
        ("stall_s:700", 200, UpstreamTimeout),
        ("slow:2", 200, ResponseDone),
    ],
)
def test_faults_are_met(tmp_path, kind, status, reason):
    """Each as its name says."""
    world = World(tmp_path, line({"a": 1}, {"n": 1}), faults=[FaultRule(parse_fault(kind))])
    response = world.ask({"a": 1})
    if response is None:
        world.clock.advance(2)
        response = world.ends[0]
    reader = Reader(response)
    world.clock.advance(600)
    assert (response.status, type(reader.reason)) == (status, reason)


def test_a_file_that_has_changed_is_an_error_and_no_crash(tmp_path):
    """Somebody may delete it under us."""
    world = World(tmp_path, line({"a": 1}, {"n": 1}))
    for text in (b"[]" * 1000, None):
        if text is None:
            (tmp_path / "a.jsonl").unlink()
        else:
            (tmp_path / "a.jsonl").write_bytes(text)
        assert world.ask({"a": 1}).status == 502
