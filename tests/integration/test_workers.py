"""Several workers: one daemon to its clients, its scraper and its operator."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from world.client import Client, accepts, ask
from world.daemon import TWISTD, alive
from world.pages import metrics, total
from world.requests import KEY, chat, embed, post, request
from world.scripts import HELD_END, HeldStream, answer, failure
from world.waiting import PATIENCE_S, eventually
from world.workers import all_gone, clients_of_each, worker_of, workers
from world.world import before_two

REQUESTS = "openai_proxy_requests_total"


@pytest.fixture
def crew(start):
    """Start a daemon with two workers."""

    def started(*options, **others):
        world = start(options=["--workers", "2", *options], **others)
        assert len(workers(world.daemon)) == 2
        return world

    return started


@pytest.fixture
def streams():
    """Keep a stream open on a connection: `streams(world, client)`; they end with the test."""
    stream, clients = HeldStream(), []

    def opened(world, client):
        world.upstream.script = stream
        clients.append(client)
        client.send(chat())
        client.read_until(b"data: first\n\n")
        return stream

    yield opened
    stream.finish.set()
    for client in clients:
        client.close()


def ends_whole(client):
    return client.read_until(b"0\r\n\r\n").endswith(HELD_END)


def close_all(clients):
    for client in clients.values():
        client.close()


def test_every_worker_serves_and_counts_for_all(crew):
    """Whoever is asked shows the sum: counters, gauges and the number of workers."""
    world = crew()
    each = clients_of_each(world.daemon, world.port)
    for count, client in enumerate(each.values(), 3):
        for _ in range(count):
            client.send(request())
            assert client.response().status == 200
    for client in each.values():
        client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        page = client.response().body.decode()
        assert total(page, REQUESTS) == 7
        assert total(page, "openai_proxy_request_duration_seconds_count") == 7
        assert total(page, "openai_proxy_workers") == 2
        assert total(page, "openai_proxy_open_connections") >= 2
    assert world.daemon.log.count("listening on") == 1
    assert world.daemon.log.count("mode pass-through") == 1
    close_all(each)


def test_killed_worker_is_replaced_and_nothing_counted_is_lost(crew, streams):
    """kill -9: the other worker's stream goes on, one line reports it, and no counter goes down."""
    world = crew()
    each = clients_of_each(world.daemon, world.port)
    (killed, first), (other, second) = each.items()
    for client in (first, second):
        for _ in range(5):
            client.send(request())
            assert client.response().status == 200
    assert total(metrics(world.port), REQUESTS) == 10
    stream = streams(world, second)
    os.kill(killed, signal.SIGKILL)
    assert eventually(lambda: len(set(workers(world.daemon)) - {killed}) == 2)
    assert eventually(lambda: total(metrics(world.port), "openai_proxy_workers") == 2)
    page = metrics(world.port)
    assert total(page, REQUESTS) == 10
    assert total(page, "openai_proxy_worker_restarts_total") == 1
    assert total(page, "openai_proxy_in_flight_requests") == 1
    assert worker_of(world.daemon, second) == other
    stream.finish.set()
    assert ends_whole(second)
    assert eventually(lambda: total(metrics(world.port), REQUESTS) == 11)
    lines = [line for line in world.daemon.log.splitlines() if f"process {killed}, ended" in line]
    assert len(lines) == 1
    assert "ended with signal 9; another one starts now" in lines[0]
    close_all(each)


def test_worker_that_gets_sigterm_drains_and_is_replaced(crew, streams):
    """An operator may take one worker out: its stream finishes, after one signal or two."""
    world = crew()
    each = clients_of_each(world.daemon, world.port)
    pid, client = next(iter(each.items()))
    stream = streams(world, client)
    for _ in range(2):
        os.kill(pid, signal.SIGTERM)
    assert eventually(lambda: "draining: 1 requests still run" in world.daemon.log)
    assert alive(pid)
    assert eventually(lambda: total(metrics(world.port), "openai_proxy_workers") == 1)
    stream.finish.set()
    assert ends_whole(client)
    assert all_gone([pid])
    assert eventually(lambda: total(metrics(world.port), "openai_proxy_workers") == 2)
    assert total(metrics(world.port), REQUESTS) == 1
    close_all(each)


def test_sigterm_drains_all_workers(crew, streams):
    """Nothing new comes in, what runs finishes, and no process stays."""
    world = crew()
    pids = workers(world.daemon)
    client = Client(world.port)
    stream = streams(world, client)
    world.daemon.signal(signal.SIGTERM)
    assert eventually(lambda: not accepts(world.port))
    assert eventually(lambda: "draining: 1 requests still run" in world.daemon.log)
    assert world.daemon.running
    stream.finish.set()
    assert ends_whole(client)
    assert world.daemon.wait_until_gone()
    assert world.daemon.process.returncode == 0
    assert all_gone(pids)


def test_second_signal_aborts_all_workers(crew, streams):
    """Who asks twice means now, with several workers too."""
    world = crew()
    pids = workers(world.daemon)
    client = Client(world.port)
    streams(world, client)
    world.daemon.signal(signal.SIGINT)
    assert eventually(lambda: "draining" in world.daemon.log)
    world.daemon.signal(signal.SIGTERM)
    client.rest()
    assert client.end == "reset"
    assert world.daemon.wait_until_gone()
    assert world.daemon.process.returncode == 0
    assert all_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_the_workers_start_ends_the_daemon(tmp_path, number):
    """Whoever is tired of waiting may send one: no traceback, and no process stays."""
    output = tmp_path / "stdout"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(TWISTD), "-n", "--pidfile=proxy.pid", "openai-proxy", "--port", "tcp:0", "--workers", "2"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    assert eventually(lambda: len(children.read_text().split()) == 2)
    pids = [int(pid) for pid in children.read_text().split()]
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert all_gone(pids)
    assert "Traceback" not in output.read_text()
    assert not (tmp_path / "proxy.pid").exists()


def test_killed_supervisor_leaves_no_orphans(crew, streams, tmp_path):
    """kill -9 of the first process: workers finish what runs, then end; the port is free again."""
    world = crew(env={"TMPDIR": str(tmp_path)})
    pids = workers(world.daemon)
    client = Client(world.port)
    stream = streams(world, client)
    serving = worker_of(world.daemon, client)
    world.daemon.signal(signal.SIGKILL)
    assert eventually(lambda: not accepts(world.port))
    assert all_gone(set(pids) - {serving})
    assert alive(serving)
    stream.finish.set()
    assert ends_whole(client)
    assert all_gone(pids)


def test_reload_reaches_every_worker_or_none(crew, tmp_path, streams):
    """SIGHUP: all follow the new .env; one that cannot work is reported once and changes nothing."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file")
    dotenv = tmp_path / ".env"
    dotenv.write_text("OPENAI_API_KEY=sk-one\n")
    world = crew(directory=tmp_path)
    each = clients_of_each(world.daemon, world.port)
    running = Client(world.port)
    stream = streams(world, running)
    for text, mark, key in (
        ("OPENAI_API_KEY=sk-two\n", "configuration reloaded", b"Bearer sk-two"),
        ("OPENAI_API_KEY=sk-three\nLIMITS__TARGET_BYTES=many\n", "TARGET_BYTES", b"Bearer sk-two"),
        # what only a worker finds out
        (
            "OPENAI_API_KEY=sk-four\nOBSERVERS=json:file=dangling\n",
            "an observer cannot start",
            b"Bearer sk-two",
        ),
        ("OPENAI_API_KEY=sk-five\n", "configuration reloaded, mode inject\n", b"Bearer sk-five"),
    ):
        seen = world.daemon.log.count(mark)
        dotenv.write_text(text)
        world.daemon.signal(signal.SIGHUP)
        assert eventually(lambda mark=mark, seen=seen: world.daemon.log.count(mark) > seen)
        for client in each.values():
            client.send(request())
            assert client.response().status == 200
            assert world.upstream.calls[-1].header(b"authorization") == key
    assert world.daemon.log.count("configuration reloaded") == 2
    assert world.daemon.log.count("reload refused, the old configuration stays: ") == 2
    stream.finish.set()
    assert ends_whole(running)
    assert "sk-" not in world.daemon.log
    close_all(each)
    running.close()


def test_replaced_worker_has_the_configuration_that_holds(crew, tmp_path):
    """Not the broken file of a refused reload, nor that of the start."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("OPENAI_API_KEY=sk-one\n")
    world = crew(directory=tmp_path)
    dotenv.write_text("OPENAI_API_KEY=sk-two\n")
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    dotenv.write_text("OPENAI_API_KEY=sk three\n")
    before = set(workers(world.daemon))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: world.daemon.log.count("is ready") == 2)
    assert ask(world.port, request()).status == 200
    assert world.upstream.calls[-1].header(b"authorization") == b"Bearer sk-two"


def test_limits_hold_for_all_workers_together(crew):
    """Without Redis too: not one request more than with one process, whoever serves it."""
    world = crew(env={"RATE_LIMIT__REQUESTS_PER_MINUTE": "2"})  # the next one comes after half a minute
    each = clients_of_each(world.daemon, world.port)
    statuses = []
    for _ in range(5):
        for client in each.values():
            client.send(request())
            statuses.append(client.response().status)
    assert statuses.count(200) == 2
    assert set(statuses) == {200, 429}
    assert total(metrics(world.port), "openai_proxy_rate_limited_total") == 8
    close_all(each)


def test_slot_of_a_killed_worker_is_free_again(crew, streams):
    """A concurrency limit does not stay taken by a process that is no more."""
    world = crew(env={"RATE_LIMIT__CONCURRENT_REQUESTS": "1"})
    each = clients_of_each(world.daemon, world.port)
    (pid, client), (_, other) = each.items()
    streams(world, client)
    other.send(request())
    assert other.response().status == 429
    os.kill(pid, signal.SIGKILL)
    client.rest()

    def admitted():
        other.send(request())
        return other.response().status == 200

    assert eventually(admitted)
    close_all(each)


def test_one_cache_for_all_workers(crew):
    """One asks the upstream for what all of them are asked at the same time, and afterwards nobody does."""
    world = crew(env={"CACHE__URL": "memory:"})
    answer = threading.Event()

    def script(call):
        call.read_body()
        assert answer.wait(PATIENCE_S)
        call.reply_json({"object": "list"})

    world.upstream.script = script
    each = clients_of_each(world.daemon, world.port)
    first, second = each.values()
    first.send(embed("x"))
    assert eventually(lambda: len(world.upstream.calls) == 1)
    second.send(embed("x"))
    second.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):  # it waits for the other's
        second.sock.recv(1)
    second.sock.settimeout(PATIENCE_S)
    answer.set()
    assert len(world.upstream.calls) == 1
    assert [client.response().header(b"x-cache") for client in (first, second)] == [b"miss"] * 2
    for client in (first, second):
        client.send(embed("x"))
        assert client.response().header(b"x-cache") == b"hit"
    assert len(world.upstream.calls) == 1
    close_all(each)


def test_a_key_that_rests_is_used_by_no_worker(start, second, tmp_path):
    """What an upstream said to one of them, all have heard."""
    second.script = answer()
    world = before_two(start, second, tmp_path, env={"WORKERS": "2"})
    each = clients_of_each(world.daemon, world.port)
    first, other = each.values()
    world.upstream.script = failure(b"429 X", "slow_down", retry_after="55")
    first.send(post(KEY))
    assert first.response().status == 200
    world.upstream.begin(answer())
    other.send(post(KEY))
    assert other.response().status == 200
    assert world.upstream.calls == []
    before = set(workers(world.daemon))
    for pid in before:
        os.kill(pid, signal.SIGKILL)  # also of those that take their place nobody asks with that key
    assert eventually(lambda: world.daemon.log.count(" is ready, process ") == 2)
    assert not before & set(workers(world.daemon))
    assert ask(world.port, post(KEY)).status == 200
    assert world.upstream.calls == []
    close_all(each)
