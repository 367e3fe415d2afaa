"""Limits kept by real daemons: exactly, together, over outages and reloads."""

import signal
import socket
import threading
import time
from collections import Counter

import pytest
from world.client import Client, Ended, ask, sent_together
from world.daemon import configured
from world.pages import get_json, metrics, total
from world.requests import post
from world.scripts import COMPLETION, answer, delta, events, failure, stream
from world.waiting import PATIENCE_S, eventually

KEY = "sk-tenant-0123456789"
BASE = {"OPENAI_API_KEY": "sk-up", "CLIENT_API_KEYS": KEY, "OBSERVERS": "none"}
STREAM = stream(*events(delta("a"), delta("b")))
ASK_FOR_STREAM = {"model": "m", "messages": [], "stream": True, "max_tokens": 100}


def statuses(streams):
    return dict(Counter(status for _, status in streams))


def gate(upstream):
    """Let the upstream's streams stand still after their first event until the gate is set."""
    release = threading.Event()
    first, *rest = events(delta("a"), delta("b"))

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(first)
        release.wait(2 * PATIENCE_S)
        call.chunk(b"".join(rest))
        call.end_stream()

    upstream.script = script
    return release


@pytest.mark.parametrize(
    ("env", "admitted"),
    [
        # few, so that the next one comes much later than any of the fifty
        ({"RATE_LIMIT__REQUESTS_PER_MINUTE": "4"}, 4),
        # about 120 tokens are reserved for each
        ({"RATE_LIMIT__TOKENS_PER_MINUTE": "504"}, 4),
        ({"RATE_LIMIT__CONCURRENT_REQUESTS": "7"}, 7),
    ],
)
def test_fifty_parallel_streams_get_exactly_one_bucket(start, env, admitted):
    """However many come at once, a bucket gives what is in it; the rest learn when to come back."""
    world = start(env={**BASE, **env})
    release = gate(world.upstream)
    with sent_together([world.port] * 50, post(KEY, ASK_FOR_STREAM)) as streams:
        release.set()
        assert statuses(streams) == {200: admitted, 429: 50 - admitted}
        for client, status in streams:
            client.read_until(b"0\r\n\r\n" if status == 200 else b'"rate_limit_exceeded"}}')
    assert len(world.upstream.calls) == admitted


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_is_asked_for_a_body_that_will_be_refused(start, workers):
    """Who sends `Expect: 100-continue` over the limit gets 429 at once, under it 100 and an answer."""
    world = start(env={**BASE, "RATE_LIMIT__REQUESTS_PER_MINUTE": "2", "WORKERS": workers})
    world.upstream.script = answer()
    head, _, body = post(KEY, headers=["Expect: 100-continue"]).partition(b"\r\n\r\n")
    for _ in range(2):
        with Client(world.port) as client:
            client.send(head + b"\r\n\r\n")
            assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(body)
            assert client.response().status == 200
    with Client(world.port) as client:
        client.send(head + b"\r\n\r\n")
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 429 ")
    assert len(world.upstream.calls) == 2


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/edits", "/v1/files"])
@pytest.mark.parametrize(
    "owners",
    [{}, {"OBJECTS__OWNERS": "enforce", "COST__STATE_FILE": "s.sqlite3"}],
    ids=["no owners", "owners"],
)
def test_nobody_is_asked_for_a_form_that_will_be_refused(start, path, owners):
    """A form that is looked into for its model, or for other keys' objects, was asked for and then refused."""
    world = start(env={**BASE, "RATE_LIMIT__REQUESTS_PER_MINUTE": "1", **owners})
    world.upstream.script = answer()
    assert ask(world.port, post(KEY)).status == 200
    with Client(world.port) as client:
        client.send(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nExpect: 100-continue\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n".encode()
        )
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 429 ")
    assert len(world.upstream.calls) == 1


def undecided(worlds):
    """Return how often Redis did not decide in time."""
    return sum(total(metrics(world.port), "openai_proxy_limit_store_failures_total") for world in worlds)


def test_two_daemons_share_one_bucket_in_redis(start, redis):
    """Streams at two machines at once get what one bucket holds.

    On a machine so busy that Redis misses its 50 ms each daemon goes on by
    itself, as it should, and counts that: then another key is tried.
    """
    keys = [f"sk-tenant-{number}-0123456789" for number in range(30)]
    env = {
        **BASE,
        "CLIENT_API_KEYS": ",".join(keys),
        "RATE_LIMIT__URL": redis.url,
        "RATE_LIMIT__REQUESTS_PER_MINUTE": "3",
        "RATE_LIMIT__TOKENS_PER_MINUTE": "100000",
        "RATE_LIMIT__CONCURRENT_REQUESTS": "40",
    }
    worlds = [start(env=env), start(env=env)]
    for key in keys:
        for world in worlds:
            world.upstream.begin(STREAM)
            assert eventually(lambda port=world.port: get_json(port, "/health")["redis_connected"])
        before = undecided(worlds)
        with sent_together([worlds[n % 2].port for n in range(6)], post(key, ASK_FOR_STREAM)) as streams:
            for client, status in streams:
                client.read_until(b"0\r\n\r\n" if status == 200 else b'"type":"requests"')
        if undecided(worlds) == before:
            break
    assert statuses(streams) == {200: 3, 429: 3}
    assert sum(len(world.upstream.calls) for world in worlds) == 3


def test_redis_dies_freezes_and_returns_and_no_request_notices(start, redis):
    """While Redis is frozen, killed and started again every request is served, at most 60 ms later."""
    world = start(
        env={
            **BASE,
            "RATE_LIMIT__URL": redis.url,
            "RATE_LIMIT__REQUESTS_PER_MINUTE": "1000000",
            "RATE_LIMIT__CONCURRENT_REQUESTS": "100",
        }
    )
    world.upstream.script = answer()
    assert eventually(lambda: get_json(world.port, "/health")["redis_connected"])
    taken, failed, stop = [], [], threading.Event()
    raw = post(KEY)

    def load():
        with Client(world.port) as client:
            while not stop.is_set():
                started = time.monotonic()
                client.send(raw)
                status = client.response().status
                taken.append(time.monotonic() - started)
                if status != 200:
                    failed.append(status)
                time.sleep(0.002)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.3)
        redis.freeze()
        time.sleep(1.2)
        redis.thaw()
        assert eventually(lambda: get_json(world.port, "/health")["redis_connected"])
        redis.kill()
        assert eventually(lambda: not get_json(world.port, "/health")["redis_connected"])
        time.sleep(0.2)
        redis.start()
        assert eventually(lambda: get_json(world.port, "/health")["redis_connected"])
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
    assert failed == []
    assert len(taken) > 100
    # one deadline of 50 ms for those in flight; the machine that runs tests has pauses of its own
    assert max(taken) < 10
    assert sorted(taken)[len(taken) // 2] < 0.5


def test_a_cut_stream_pays_for_what_it_used_and_frees_its_slot(start):
    """An upstream that dies in a stream and a client that leaves one give back slot and reservation."""
    world = start(
        env={**BASE, "RATE_LIMIT__TOKENS_PER_MINUTE": "1000", "RATE_LIMIT__CONCURRENT_REQUESTS": "1"}
    )
    raw = post(KEY, {**ASK_FOR_STREAM, "max_tokens": 900})
    first = events(delta("abcdefgh" * 10))[0]

    def dying(call):
        call.read_body()
        call.start_stream()
        call.chunk(first)
        call.reset()

    world.upstream.script = dying
    cut = ask(world.port, raw)
    assert (cut.status, cut.whole) == (200, False)

    def hanging(call):
        call.read_body()
        call.start_stream()
        call.chunk(first)
        call.seconds_until_gone()

    world.upstream.script = hanging
    for leave in (Client.close, Client.reset):
        client = Client(world.port)
        client.send(raw)
        client.read_until(b"abcdefgh")
        leave(client)
        assert eventually(lambda: world.upstream.alive == 0)
    world.upstream.script = answer()
    assert ask(world.port, raw).status == 200


def test_a_refusal_charges_nothing(start):
    """Ten refused requests leave the bucket as it was; a failed upstream gives the tokens back."""
    world = start(env={**BASE, "RATE_LIMIT__TOKENS_PER_MINUTE": "600"})
    world.upstream.script = failure(b"500 Internal Server Error")
    large = post(KEY, {"model": "m", "messages": [], "max_tokens": 500})
    for _ in range(3):
        assert ask(world.port, large).status == 500
    usage = {"prompt_tokens": 300, "completion_tokens": 200, "total_tokens": 500}
    world.upstream.script = answer(document={**COMPLETION, "usage": usage})
    started = time.monotonic()
    assert ask(world.port, large).status == 200
    waits = []
    for _ in range(10):
        refused = ask(world.port, large)
        assert (refused.status, refused.error["type"]) == (429, "tokens")
        waits.append(int(refused.header(b"retry-after-ms")))
    assert waits == sorted(waits, reverse=True)
    assert refused.header(b"x-ratelimit-limit-tokens") == b"600"
    refilled = 10 * (time.monotonic() - started)
    assert 99 <= int(refused.header(b"x-ratelimit-remaining-tokens")) <= 101 + refilled
    assert refused.header(b"x-ratelimit-reset-tokens").endswith(b"s")


def running(world):
    """Return how many requests the daemon has taken and not ended."""
    return total(metrics(world.port), "openai_proxy_in_flight_requests")


def test_a_request_may_wait_and_may_leave_while_it_waits(start):
    """With max_wait_s a slot is waited for; who leaves meanwhile takes none and asks nobody."""
    world = start(env={**BASE, "RATE_LIMIT__CONCURRENT_REQUESTS": "1", "RATE_LIMIT__MAX_WAIT_S": "60"})
    release = gate(world.upstream)
    with Client(world.port) as held, Client(world.port) as waiting:
        held.send(post(KEY, ASK_FOR_STREAM))
        held.read_until(b'"a"')
        leaving = [Client(world.port) for _ in range(3)]
        for number, client in enumerate(leaving):
            client.send(post(KEY, ASK_FOR_STREAM))
            assert eventually(lambda: running(world) == 2)
            client.reset() if number else client.close()
            assert eventually(lambda: running(world) == 1)
        waiting.send(post(KEY))
        with pytest.raises(Ended):
            waiting.read_until(b"HTTP", 0.3)
        world.upstream.script = answer()
        release.set()
        assert b"[DONE]" in held.read_until(b"0\r\n\r\n")
        assert waiting.response().status == 200
    assert len(world.upstream.calls) == 2


def test_a_reload_keeps_what_was_used_and_lets_streams_run(start, tmp_path):
    """SIGHUP in the middle of a stream: it ends whole, its slot still counts, the bucket goes on."""
    limits = "requests_per_minute = {}\nconcurrent_requests = 1\n"
    options = configured(tmp_path, "[rate_limit]\n" + limits.format(3))
    world = start(env=BASE, **options)
    release = gate(world.upstream)
    with Client(world.port) as held:
        held.send(post(KEY, ASK_FOR_STREAM))
        held.read_until(b'"a"')
        (tmp_path / "proxy.toml").write_text("[rate_limit]\n" + limits.format(4))
        world.daemon.signal(signal.SIGHUP)
        assert eventually(lambda: "configuration reloaded" in world.daemon.log)
        assert ask(world.port, post(KEY)).status == 429
        release.set()
        assert b"[DONE]" in held.read_until(b"0\r\n\r\n")
    world.upstream.script = answer()
    assert [ask(world.port, post(KEY)).status for _ in range(4)] == [200, 200, 200, 429]


def test_a_websocket_holds_a_slot_until_it_ends(start):
    """A tunnel whose turns nobody reads counts as one running request of its key, however it ends."""
    world = start(env={**BASE, "RATE_LIMIT__CONCURRENT_REQUESTS": "1", "WEBSOCKET__INSPECT": "never"})

    def tunnel(call):
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        call.seconds_until_gone()
        call.closed = True

    world.upstream.script = tunnel
    raw = (
        f"GET /v1/realtime?model=m HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {KEY}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()
    client = Client(world.port)
    client.send(raw)
    client.read_until(b"\r\n\r\n")
    assert ask(world.port, raw).status == 429
    client.sock.shutdown(socket.SHUT_RDWR)
    client.close()
    world.upstream.script = answer()
    assert eventually(lambda: ask(world.port, post(KEY)).status == 200)


def test_a_daemon_stops_at_once_while_redis_is_away(start, redis):
    """SIGTERM in the middle of an attempt to connect again ends the process as ever."""
    world = start(env={**BASE, "RATE_LIMIT__URL": redis.url, "RATE_LIMIT__REQUESTS_PER_MINUTE": "30"})
    assert eventually(lambda: get_json(world.port, "/health")["redis_connected"])
    redis.kill()
    assert eventually(lambda: not get_json(world.port, "/health")["redis_connected"])
    assert eventually(lambda: "is away" in world.daemon.log)
    time.sleep(0.15)
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()
