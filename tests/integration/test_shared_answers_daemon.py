"""The same question at two workers at the same time: one upstream call, and both answer as it comes."""

import os
import signal
import ssl
import threading
from pathlib import Path

import pytest
from world.client import Client, Ended
from world.pages import samples
from world.requests import cacheable_chat, embed
from world.scripts import LedStream
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually
from world.workers import clients_of_each

ASKED = cacheable_chat("hi", "sk-same", stream=True, stream_options={"include_usage": True})
LAST = b"data: [DONE]\n\n\r\n0\r\n\r\n"
WORKERS = {"WORKERS": "2", "CACHE__URL": "memory:", "OBSERVERS": "json:file=exchanges.jsonl"}


@pytest.fixture(params=["memory", "redis", "tls"])
def shared(request, start, tmp_path, authority):
    """Start two workers with a cache in memory, in Redis, or in memory with an upstream that speaks TLS."""
    if request.param == "redis":
        return start(env={**WORKERS, "CACHE__URL": request.getfixturevalue("redis").url})
    if request.param == "memory":
        return start(env=WORKERS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return start(Upstream(context), env={**WORKERS, "UPSTREAM__CA_FILE": str(tmp_path / "ca.pem")})


def both_read(world):
    """Let a client of each worker ask the same; return both, and the worker of the first, when they have an event."""
    (pid, first), (_, second) = clients_of_each(world.daemon, world.port).items()
    world.upstream.script = stream = LedStream()
    first.send(ASKED)
    first.read_until(stream.FIRST)
    second.send(ASKED)
    second.read_until(stream.FIRST)
    assert not stream.go_on.is_set()
    return pid, first, second, stream


def output_tokens(world):
    return samples(world.port).get('openai_proxy_tokens_total{kind="output",model="m"}')


def cache_results(world):
    page = samples(world.port)
    return {
        result: page.get(
            f'openai_proxy_cache_requests_total{{endpoint="chat/completions",result="{result}"}}', 0
        )
        for result in ("miss", "shared", "hit")
    }


def test_a_stream_is_one_call_for_both_workers(shared):
    """Whose first event both have before the upstream has said more; it is kept, and its tokens count once."""
    _, first, second, stream = both_read(shared)
    stream.go_on.set()
    for client in (first, second):
        assert client.read_until(LAST)
        client.send(ASKED)
        again = client.response()
        assert (again.header(b"x-cache"), again.body) == (b"hit", stream.whole)
        client.close()
    assert len(shared.upstream.calls) == 1
    assert eventually(lambda: cache_results(shared) == {"miss": 1, "shared": 1, "hit": 2})
    assert eventually(lambda: output_tokens(shared) == 5)


def test_a_worker_that_is_killed_takes_only_its_calls_along(shared):
    """The other's client is cut off, nothing is kept of half an answer, and whoever asks then has a whole one."""
    pid, first, second, stream = both_read(shared)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Ended):
        second.read_until(LAST)
    assert second.end == "reset"
    stream.go_on.set()
    with Client(shared.port) as client:
        client.send(ASKED)
        answer = client.response()
        assert (answer.header(b"x-cache"), answer.body) == (b"miss", stream.whole)
    assert len(shared.upstream.calls) == 2
    first.close()
    second.close()


def test_a_worker_that_is_killed_before_the_head_is_asked_instead_of(shared):
    """The client at the other one has its answer, by a call of its own."""
    answer = threading.Event()

    def script(call):
        call.read_body()
        if len(shared.upstream.calls) == 1:
            answer.wait(PATIENCE_S)
        call.reply_json({"object": "list", "data": [{"embedding": [1.0]}]})

    shared.upstream.script = script
    (pid, first), (_, second) = clients_of_each(shared.daemon, shared.port).items()
    first.send(embed("x", "sk-same"))
    assert eventually(lambda: len(shared.upstream.calls) == 1)
    second.send(embed("x", "sk-same"))
    assert eventually(lambda: _reads(shared, pid))
    os.kill(pid, signal.SIGKILL)
    assert second.response().status == 200
    answer.set()
    assert len(shared.upstream.calls) == 2
    first.close()
    second.close()


def _reads(world, pid):
    """Whether another worker has a connection to this one, beside what each has with the first process."""
    sockets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    lines = Path("/proc/net/unix").read_text().splitlines()
    stream = {line.split()[6] for line in lines[1:] if line.split()[4] == "0001"}
    return sum(each.removeprefix("socket:[").rstrip("]") in stream for each in sockets) > 1


def test_a_client_that_leaves_pays_for_those_at_the_other_worker(shared):
    """The call goes on for them, to its end; its record says so."""
    _, first, second, stream = both_read(shared)
    first.reset()
    assert eventually(lambda: samples(shared.port)['openai_proxy_open_connections{side="downstream"}'] < 3)
    stream.go_on.set()
    assert second.read_until(LAST)
    lines = shared.daemon.directory / "exchanges.jsonl"
    assert eventually(lambda: '"finished_alone"' in lines.read_text())
    assert len(shared.upstream.calls) == 1
    assert eventually(lambda: output_tokens(shared) == 5)
    second.close()


@pytest.mark.parametrize("number", [1, 2])
def test_a_call_that_runs_during_a_reload_is_shared_by_who_asks_after_it(start, number):
    """One process or two: the replaced configuration has it, the new one reads."""
    world = start(env={**WORKERS, "WORKERS": str(number)})
    world.upstream.script = stream = LedStream()
    with Client(world.port) as first, Client(world.port) as second:
        first.send(ASKED)
        first.read_until(stream.FIRST)
        world.daemon.signal(signal.SIGHUP)
        assert eventually(lambda: "configuration reloaded" in world.daemon.log)
        second.send(ASKED)
        second.read_until(stream.FIRST)
        assert not stream.go_on.is_set()
        stream.go_on.set()
        for client in (first, second):
            assert client.read_until(LAST)
    assert len(world.upstream.calls) == 1
