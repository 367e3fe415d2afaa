"""Several upstreams of which one dies, and keys that belong to one origin."""

import functools
import json
import signal
import socket
import time

import pytest
from world.client import ask
from world.load import Load
from world.pages import get_json
from world.requests import post
from world.scripts import answer
from world.waiting import PATIENCE_S, eventually
from world.world import before_two

KEY = "sk-client-0123456789"
OTHER = "sk-client-9876543210"

MODELS = """
[[models]]
match = "house"
upstream = "second"
upstream_model = "org/gpt-house"
"""


@pytest.fixture
def two(start, second, tmp_path):
    """Start a daemon before two upstreams, the second one in reserve."""
    return functools.partial(before_two, start, second, tmp_path, MODELS)


def state_of_first(world):
    entry = get_json(world.port, "/health")["upstreams"][0]
    assert entry["name"] == "first"
    return entry["state"], entry["reachable"]


def failed_attempts(world):
    """Return how many requests the first upstream has failed, from the metrics."""
    page = ask(world.port, b"GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n").body.decode()
    lines = [line for line in page.splitlines() if line.startswith("openai_proxy_upstream_errors_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'upstream="first"' in line)


def test_no_request_is_spent_on_a_dead_upstream(two, second):
    """It dies and returns under load: no client sees an error, none is sent there meanwhile, then it serves."""
    world = two()
    # a connection that waits to be accepted is reset: only with a key may its request go again
    with Load(world.port, post(KEY, headers=("Idempotency-Key: one",)), 3, 0.01) as load:
        assert eventually(lambda: len(world.upstream.calls) > 10)
        assert state_of_first(world) == ("closed", True)
        world.upstream.close()
        assert eventually(lambda: state_of_first(world) == ("open", False))
        begun = list(load.counts)  # those that were on their way before are through with two more each
        assert eventually(lambda: all(now > then + 2 for now, then in zip(load.counts, begun, strict=True)))
        lost, served = failed_attempts(world), len(second.calls)
        time.sleep(3)
        assert failed_attempts(world) == lost
        assert len(second.calls) > served
        world.upstream.calls.clear()
        world.upstream.revive()
        assert eventually(lambda: state_of_first(world) == ("closed", True))
        assert eventually(lambda: len(world.upstream.calls) > 10)
    assert load.failed == []
    assert "upstream first: the circuit opened: it takes no connections" in world.daemon.log
    assert "upstream first: the circuit closed: it takes connections again" in world.daemon.log


def test_an_upstream_that_only_listens_does_not_get_the_load_back(two, second):
    """It answers 500 when it is reached again: its model is out after five, and clients notice nothing."""
    world = two()
    world.upstream.close()
    for _ in range(3):
        assert ask(world.port, post(KEY)).status == 200
    assert eventually(lambda: state_of_first(world) == ("open", False))
    world.upstream.script = answer(b"500 Broken")
    world.upstream.calls.clear()
    world.upstream.revive()
    assert eventually(lambda: state_of_first(world) == ("half-open", True))
    started = time.monotonic()
    while time.monotonic() - started < 1.5:
        assert ask(world.port, post(KEY)).status == 200
    passed_s = time.monotonic() - started
    assert (
        1 <= len(world.upstream.calls) <= 5 + passed_s // 1
    )  # then a trial after one second, and after two more
    assert world.upstream.errors == []


def test_a_reload_and_an_end_leave_no_probe_behind(two):
    """A daemon whose upstream is away reloads and stops as any other."""
    world = two()
    world.upstream.close()
    for _ in range(3):
        ask(world.port, post(KEY))
    assert eventually(lambda: state_of_first(world) == ("open", False))
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: state_of_first(world) == ("closed", True))
    world.daemon.stop()
    assert world.daemon.defects == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_alias_is_looked_up_at_its_upstream(two, second, method):
    """Under the name it has there; the answer is the upstream's, byte for byte."""
    world = two()
    document = {"id": "org/gpt-house", "object": "model", "created": 1, "owned_by": "x"}
    second.script = answer(document=document) if method == "GET" else answer_head
    raw = f"{method} /v1/models/house?x=%20 HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    got = ask(world.port, raw.encode()) if method == "GET" else None
    if got is None:
        assert head_of(world.port, raw.encode()).startswith(b"HTTP/1.1 200")
    else:
        assert (got.status, json.loads(got.body)) == (200, document)
    assert world.upstream.calls == []
    call = second.calls[0]
    assert (call.method, call.target) == (method.encode(), b"/v1/models/org%2Fgpt-house?x=%20")
    assert call.header(b"authorization") == b"Bearer sk-second"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_form_goes_where_its_model_is_and_under_the_name_there(two, second, is_chunked):
    """It went to the first upstream if its file came before its model, and it kept the proxy's own name."""
    world = two()
    second.script = answer()
    part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    file = part % (b"file", b'; filename="a.mp3"', bytes(300_000))
    form = file + part % (b"model", b"", b"%b") + part % (b"language", b"", b"en") + b"--b--\r\n"
    body = form % b"house"
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {KEY}\r\n".encode()
    head += b"Content-Type: multipart/form-data; boundary=b\r\n"
    if is_chunked:
        raw = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        raw = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    assert ask(world.port, raw).status == 200
    assert world.upstream.calls == []
    assert second.calls[0].body == form % b"org/gpt-house"


def answer_head(call):
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")


def head_of(port, raw):
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        sock.sendall(raw)
        return sock.recv(1 << 16)


def test_a_tenants_own_key_goes_to_its_origin_and_to_no_other(two, second):
    """Before the key of the upstream that `upstream.base_url` names; another's own key stays with it."""
    world = two(env={"API_KEY_MAPPING": json.dumps({KEY: "sk-alices-own"}), "CLIENT_API_KEYS": OTHER})
    for key in (KEY, OTHER):
        assert ask(world.port, post(key)).status == 200
        assert ask(world.port, post(key, {"model": "house", "messages": []})).status == 200
    assert [call.header(b"authorization") for call in world.upstream.calls] == [
        b"Bearer sk-alices-own",
        b"Bearer sk-first",
    ]
    assert {call.header(b"authorization") for call in second.calls} == {b"Bearer sk-second"}
