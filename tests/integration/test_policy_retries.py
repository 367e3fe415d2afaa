"""How often an upstream is asked, counted there, for every row of the retry rules."""

import contextlib
import functools
import json
import signal
import socket
import time

import pytest
from world.client import Client, ask, sent_together
from world.daemon import configured
from world.load import Load
from world.pages import get_json, metrics, total
from world.ports import HeldPort
from world.requests import post
from world.scripts import answer, delta, events, failure, in_turn, stream
from world.upstream import Upstream
from world.waiting import eventually
from world.world import before_two, serving

KEY = "sk-client-0123456789"
SDK = ("x-stainless-retry-count: 0",)
IDEMPOTENT = ("Idempotency-Key: one",)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    env = {"RETRY__MAX_RETRIES": "2", "TIMEOUT_S__FIRST_BYTE": "4", "OBSERVERS": "none"}
    with serving(tmp_path_factory.mktemp("retries"), env=env) as world:
        yield world


@pytest.fixture(autouse=True)
def _fresh_connections(request):
    """Fill the budget of retries, then end the connections that the proxy keeps."""
    if "world" not in request.fixturenames:
        return
    world = request.getfixturevalue("world")
    world.upstream.begin()
    with Client(world.port) as client:
        for _ in range(15):
            client.send(post(KEY))
            assert client.response().status == 200
    for sock in world.upstream.sockets:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    # the daemon has heard of it
    assert eventually(
        lambda: total(metrics(world.port), 'openai_proxy_open_connections{side="upstream"}') == 0
    )


def asked_at_once(status, **options):
    """Return a failure whose repetition may come at once."""
    return failure(status, **{"retry_after_ms": "1", **options})


def reset(call):
    call.read_body()
    call.reset()


def silent(call):
    call.read_body()
    call.seconds_until_gone()
    call.closed = True


def nonsense(call):
    call.read_body()
    call.send(b"SPAM eggs\r\n\r\n")
    call.finish()


def cut(call):
    call.read_body()
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{")
    call.finish()


TWICE = [asked_at_once(b"%d X" % status) for status in (408, 409, 429, 500, 501, 502, 503, 504, 520, 529)]


@pytest.mark.parametrize(
    ("first", "headers", "posts", "status"),
    [
        *((script, (), 2, 200) for script in TWICE),
        *((script, SDK, 1, None) for script in TWICE),
        (asked_at_once(b"503 X", x_should_retry="false"), (), 1, 503),
        (asked_at_once(b"503 X", x_should_retry="true"), (), 2, 200),
        (asked_at_once(b"429 X", code="insufficient_quota"), (), 1, 429),
        (asked_at_once(b"429 X", code="rate_limit_exceeded"), (), 2, 200),
        (failure(b"429 X", retry_after="61"), (), 1, 429),
        (failure(b"503 X", retry_after_ms="60001"), (), 1, 503),
        (asked_at_once(b"400 X"), (), 1, 400),
        (asked_at_once(b"401 X"), (), 1, 401),
        (asked_at_once(b"404 X"), (), 1, 404),
        (reset, (), 1, 502),
        (reset, IDEMPOTENT, 2, 200),
        (silent, (), 1, 504),
        (silent, IDEMPOTENT, 1, 504),
        (nonsense, (), 1, 502),
        (cut, (), 1, 200),
    ],
)
def test_the_first_answer_decides_how_often(world, first, headers, posts, status):
    """A POST reaches the upstream twice if the rules say so, and never otherwise."""
    world.upstream.begin(in_turn(first, answer()))
    got = ask(world.port, post(KEY, headers=headers))
    assert len(world.upstream.calls) == posts
    if status is not None:
        assert got.status == status
    bodies = {call.body for call in world.upstream.calls}
    assert len(bodies) == 1


def test_a_kept_connection_that_died_is_no_reason_to_fail(world):
    """The upstream closes a connection it kept, just as the next request is sent: once more, on a fresh one."""

    def close_second(call):
        answer()(call)
        call.sock.recv(1)
        call.reset()

    world.upstream.begin(in_turn(close_second, answer()))
    assert ask(world.port, post(KEY)).status == 200
    assert ask(world.port, post(KEY)).status == 200
    assert len(world.upstream.calls) == 2


def test_the_last_answer_comes_as_it_came(world):
    """After all attempts the client gets the upstream's own error, byte for byte."""
    numbered = [asked_at_once(b"503 Busy %d" % n, code=str(n), x_request_id=f"req_{n}") for n in (1, 2, 3)]
    world.upstream.begin(in_turn(*numbered))
    got = ask(world.port, post(KEY))
    assert (got.status, got.reason, got.header(b"x-request-id")) == (503, b"Busy 3", b"req_3")
    assert json.loads(got.body)["error"]["code"] == "3"
    assert len(world.upstream.calls) == 3


def test_the_wait_is_what_the_upstream_asks_for(world):
    """`retry-after-ms` is kept: never sooner, and not much later."""
    times = []

    def script(call):
        times.append(time.monotonic())
        first(call) if len(times) == 1 else answer()(call)

    first = failure(b"429 X", retry_after_ms="700")
    world.upstream.begin(script)
    assert ask(world.port, post(KEY)).status == 200
    assert 0.69 < times[1] - times[0] < 10


def test_a_client_that_leaves_during_the_wait_is_not_asked_for_again(world):
    """Nobody waits for the second attempt any more: there is none."""
    world.upstream.begin(in_turn(failure(b"429 X", retry_after_ms="2000"), answer()))
    client = Client(world.port)
    client.send(post(KEY))
    assert eventually(lambda: len(world.upstream.calls) == 1)
    client.reset()
    assert eventually(lambda: total(metrics(world.port), "openai_proxy_in_flight_requests") == 0)
    time.sleep(2.5)
    assert len(world.upstream.calls) == 1


def test_a_stream_is_never_begun_twice(world):
    """An upstream that dies in the middle of a stream is not asked again; the end is a reset."""
    first = events(delta("a"))[0]

    def dying(call):
        call.read_body()
        call.start_stream()
        call.chunk(first)
        call.reset()

    world.upstream.begin(dying)
    got = ask(world.port, post(KEY, headers=IDEMPOTENT))
    assert (got.status, got.whole, got.end) == (200, False, "reset")
    assert len(world.upstream.calls) == 1


def test_an_outage_is_not_answered_with_a_multiple_of_the_load(start):
    """However many requests fail, ten more than they were reach the upstream."""
    world = start(env={"RETRY__MAX_RETRIES": "1", "OBSERVERS": "none"})
    world.upstream.script = asked_at_once(b"503 X")
    with sent_together([world.port] * 20, post(KEY)) as answers:
        assert {status for _, status in answers} == {503}
    assert len(world.upstream.calls) == 30


# ---- several upstreams

MODELS = """
[[models]]
match = "house-*"
upstream = "second"
upstream_model = "gpt-house"
[[models]]
match = "fast"
upstream_model = "gpt-4o-mini"
"""


@pytest.fixture
def two(start, second, tmp_path):
    """Start a daemon before two upstreams, as `before_two` says."""
    return functools.partial(before_two, start, second, tmp_path, MODELS)


def test_a_proxy_that_leads_back_to_itself_is_not_asked_again(start):
    """508 was retried like any status from 500 on, by each of the five passes: one request made up to 256."""
    held = HeldPort()
    port = held.number
    world = start(
        url=f"http://127.0.0.1:{port}/v1",
        ports=[f"tcp:{port}:interface=127.0.0.1"],
        env={"RETRY__MAX_RETRIES": "3"},
    )
    answered = ask(port, post(KEY))
    assert (answered.status, answered.error["code"]) == (508, "proxy_loop")
    assert answered.header(b"x-should-retry") == b"false"
    assert eventually(lambda: world.daemon.log.count(" POST /v1/chat/completions ") == 6)
    assert "attempts=" not in world.daemon.log


def test_models_go_where_they_are_mapped_and_are_listed(two, second):
    """An alias is served under the upstream's own name and stands in the list of models."""
    world = two()
    assert ask(world.port, post(KEY, {"model": "house-1", "messages": []})).status == 200
    assert json.loads(second.calls[0].body) == {"model": "gpt-house", "messages": []}
    assert second.calls[0].header(b"authorization") == b"Bearer sk-second"
    assert ask(world.port, post(KEY, {"model": "fast", "messages": []})).status == 200
    assert json.loads(world.upstream.calls[0].body)["model"] == "gpt-4o-mini"
    assert world.upstream.calls[0].header(b"authorization") == b"Bearer sk-first"
    world.upstream.script = answer(document={"object": "list", "data": [{"id": "m", "object": "model"}]})
    listed = get_json(world.port, "/v1/models")
    assert [model["id"] for model in listed["data"]] == ["m", "fast"]


@pytest.mark.parametrize(
    ("limit", "cooled"),
    [
        (failure(b"429 X", "slow_down", retry_after="30"), 1),
        (failure(b"429 X", "rate_limit_exceeded", retry_after_ms="30000"), 1),
        (failure(b"429 X", "insufficient_quota"), 1),
        (failure(b"429 X", "rate_limit_exceeded"), 1),
        (failure(b"404 X", "model_not_found"), 0),
    ],
)
def test_a_limited_key_rests_and_the_other_upstream_serves(two, second, limit, cooled):
    """A 429 takes its key out for as long as it says, and `/health` shows it."""
    world = two()
    world.upstream.script = limit
    ask(world.port, post(KEY))
    asked = len(world.upstream.calls)
    world.upstream.script = answer()
    assert ask(world.port, post(KEY)).status == 200
    assert len(world.upstream.calls) == asked + (0 if cooled else 1)
    health = get_json(world.port, "/health")
    assert [(u["name"], u["state"], u["cooled_keys"]) for u in health["upstreams"]] == [
        ("first", "closed", cooled),
        ("second", "closed", 0),
    ]


def test_an_upstream_killed_under_load_is_not_noticed_and_found_again(two, second):
    """One of two upstreams dies and returns: no client sees an error, and within seconds it serves again."""
    world = two(priority=0)
    # a connection that waits to be accepted is reset: only with a key may its request go again
    with Load(world.port, post(KEY, headers=IDEMPOTENT), 4, 0.005) as load:
        assert eventually(lambda: len(world.upstream.calls) > 20 and sum(load.counts) > 50)
        world.upstream.close()
        assert eventually(lambda: get_json(world.port, "/health")["upstreams"][0]["state"] != "closed")
        assert second.calls
        time.sleep(0.3)
        world.upstream.revive()
        assert eventually(lambda: get_json(world.port, "/health")["upstreams"][0]["state"] == "closed")
    assert load.failed == []


def test_all_upstreams_broken_the_client_gets_what_one_of_them_said(two, second):
    """However sick they seem, the answer is an upstream's, never ours; two retries are two further calls in all."""
    world = two()
    world.upstream.script = second.script = asked_at_once(b"500 Broken")
    got = ask(world.port, post(KEY))
    assert (got.status, got.reason) == (500, b"Broken")
    assert len(world.upstream.calls) + len(second.calls) == 3
    for _ in range(10):
        got = ask(world.port, post(KEY, headers=SDK))
        assert (got.status, got.reason) == (500, b"Broken")
    log = world.daemon.log
    for name in ("first", "second"):
        assert f"upstream {name}, model gpt-4o-mini: the circuit opened: 500" in log


def test_with_tenants_each_upstream_gets_its_own_key(two, second):
    """A tenant's request carries the key of the upstream it goes to; a reload heals a rested key."""
    world = two(env={"CLIENT_API_KEYS": KEY})
    world.upstream.script = failure(b"429 X", "insufficient_quota")
    assert ask(world.port, post(KEY)).status == 200
    assert second.calls[0].header(b"authorization") == b"Bearer sk-second"
    world.upstream.script = stream(*events(delta("a")))
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    assert b"[DONE]" in ask(world.port, post(KEY)).body
    assert ask(world.port, post("sk-other")).status == 401


def test_an_upstream_without_a_key_never_sees_another_ones(start, second, tmp_path):
    """The key of one upstream goes to no other origin."""
    first = Upstream()
    first.script = answer()
    toml = (
        f'[[upstreams]]\nname = "a"\nbase_url = "{first.url}/v1"\napi_key = "sk-of-a"\n'
        f'[[upstreams]]\nname = "b"\nbase_url = "{second.url}/v1"\n'
        '[[models]]\nmatch = "only-b"\nupstream = "b"\n'
    )
    world = start(upstream=first, env={"OBSERVERS": "none"}, **configured(tmp_path, toml))
    assert ask(world.port, post(KEY, {"model": "only-b", "messages": []})).status == 200
    assert second.calls[0].header(b"authorization") is None
