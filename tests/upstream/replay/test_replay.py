"""Recorded answers as a client is given them."""

import json

import pytest
from fakes import delivered, exchange, results_of, through
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone
from upstream.replay.recordings import EVENTS, IGNORED, line, load, write

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.upstream_errors import UpstreamTimeout
from openai_proxy.upstream.answer_timer import UpstreamTimeouts
from openai_proxy.upstream.replay.faults import FaultRule
from openai_proxy.upstream.replay.forward import ReplayForward, ReplayRules
from openai_proxy.wire.fault_kinds import parse_fault


class Replay:
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
        self.ends = results_of(through(self.forward, request))
        return self.ends[0] if self.ends else None

    def body(self, document):
        return json.loads(delivered(self.ask(document).body).data)


@pytest.mark.parametrize(
    ("repeat", "given"),
    [("last", [1, 2, 2, 2]), ("cycle", [1, 2, 1, 2]), ("error", [1, 2, None, None])],
)
def test_answers_of_one_request_come_in_turn(tmp_path, repeat, given):
    """What follows is a setting."""
    lines = [line({"a": 1}, {"n": n}, timestamp=f"2026-01-0{n}") for n in (1, 2)]
    replay = Replay(tmp_path, *lines, repeat=repeat)
    assert [replay.body({"a": 1, "user": "me"}).get("n") for _ in given] == given
    if repeat == "error":
        assert "replay.repeat" in replay.body({"a": 1})["error"]["message"]


def test_a_miss_names_the_nearest_and_where_it_differs(tmp_path):
    """Never what anybody wrote."""
    replay = Replay(
        tmp_path, line({"model": "m", "messages": [{"content": "secret one"}]}, {}), line({"x": 1}, {})
    )
    response = replay.ask({"model": "m", "messages": [{"content": "secret two"}]})
    error = json.loads(delivered(response.body).data)["error"]
    assert (response.status, error["code"], error["param"]) == (404, "not_recorded", None)
    assert "2026-01-01T00:00:00.000Z and differs in messages[0].content" in error["message"]
    assert "secret" not in error["message"]
    assert (b"x-should-retry", b"false") in response.headers


def test_a_miss_may_go_live(tmp_path):
    """The attempt is counted there."""

    async def live(request):
        return "live"

    replay = Replay(tmp_path, line({"a": 1}, {}), live=live)
    assert replay.ask({"a": 2}) == "live"
    assert replay.exchange.attempts == 0
    assert replay.ask({"a": 1}).status == 200
    assert replay.exchange.attempts == 1


def test_times_are_those_of_the_record(tmp_path):
    """Times the factor; a head that takes too long is a timeout."""
    recorded = line({"a": 1}, raw=[[1.0, "a"], [3.0, "b"]], headers=EVENTS)
    replay = Replay(tmp_path, recorded, pace=0.5)
    assert replay.ask({"a": 1}) is None
    replay.clock.advance(0.5)
    reader = delivered(replay.ends[0].body)
    assert reader.data == b"a"
    replay.clock.advance(1.0)
    assert (reader.data, type(reader.reason)) == (b"ab", ResponseDone)
    replay = Replay(tmp_path, recorded, pace=0.5, first_byte=0.25)
    replay.ask({"a": 1})
    replay.clock.advance(0.25)
    assert isinstance(replay.ends[0], UpstreamTimeout)
    assert replay.exchange.upstream_error_kinds == [("r", "timeout_first_byte")]


def test_a_head_request_has_no_body(tmp_path):
    """Its own recording is asked for."""
    replay = Replay(tmp_path, line({"a": 1}, {"n": 1}, request={"method": "HEAD"}))
    assert delivered(replay.ask({"a": 1}, b"HEAD").body).data == b""


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
    replay = Replay(tmp_path, line({"a": 1}, {"n": 1}), faults=[FaultRule(parse_fault(kind))])
    response = replay.ask({"a": 1})
    if response is None:
        replay.clock.advance(2)
        response = replay.ends[0]
    reader = delivered(response.body)
    replay.clock.advance(600)
    assert (response.status, type(reader.reason)) == (status, reason)


def test_a_file_that_has_changed_is_an_error_and_no_crash(tmp_path):
    """Somebody may delete it under us."""
    replay = Replay(tmp_path, line({"a": 1}, {"n": 1}))
    for text in (b"[]" * 1000, None):
        if text is None:
            (tmp_path / "a.jsonl").unlink()
        else:
            (tmp_path / "a.jsonl").write_bytes(text)
        assert replay.ask({"a": 1}).status == 502
