"""The real `openai` SDK with a time-out shorter than the answer: its own retry gets the answer of the first call.

REJOIN_CALLS sets how many calls are made.
"""

import json
import os
import signal
import threading
from collections import Counter

import openai
import pytest
from world.client import Client, Ended
from world.load import at_once
from world.pages import metrics, samples, total
from world.requests import post
from world.scripts import COMPLETION, LedStream
from world.waiting import PATIENCE_S, eventually
from world.workers import all_gone, clients_of_each

CALLS = int(os.environ.get("REJOIN_CALLS", "16"))
AT_ONCE = 16
KEY = "sk-client-0123456789"
FINISH = {"ON_DISCONNECT": "finish", "OBSERVERS": "json:file=exchanges.jsonl"}


def outcomes(daemon):
    lines = (daemon.directory / "exchanges.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["outcome"] for line in lines)


def downstream_connections(world):
    """Return the number of the clients' connections, that of the one who asks included."""
    return samples(world.port)['openai_proxy_open_connections{side="downstream"}']


def test_the_sdks_retry_gets_the_answer_of_its_first_call(start):
    """One upstream call for each call of a program; bytes whole, tokens counted once."""
    world = start(env=FINISH)
    asked, lock = Counter(), threading.Lock()
    left = {f"question {number}": threading.Event() for number in range(CALLS)}

    def text_of(body):
        return json.loads(body)["messages"][0]["content"]

    def note_retry(request):
        if request.headers["x-stainless-retry-count"] != "0":
            left[text_of(request.content)].set()

    def answer(call):
        text = text_of(call.read_body())
        with lock:
            asked[text] += 1
        assert left[text].wait(PATIENCE_S)
        message = {"role": "assistant", "content": f"answer to {text}"}
        call.reply_json({**COMPLETION, "choices": [{**COMPLETION["choices"][0], "message": message}]})

    world.upstream.script = answer

    def program(number):
        hooks = openai.DefaultHttpxClient(event_hooks={"request": [note_retry]})
        url = f"http://127.0.0.1:{world.port}/v1"
        with openai.OpenAI(
            api_key=KEY, base_url=url, timeout=1.0, max_retries=4, http_client=hooks
        ) as client:
            said = []
            for each in range(number, CALLS, AT_ONCE):
                messages = [{"role": "user", "content": f"question {each}"}]
                answered = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
                said.append((each, answered.choices[0].message.content))
            return said

    said = [each for some in at_once(AT_ONCE, program, 600.0) for each in some]
    assert sorted(said) == [(each, f"answer to question {each}") for each in range(CALLS)]
    assert len(asked) == CALLS
    assert sum(asked.values()) <= 1.02 * CALLS
    assert eventually(lambda: outcomes(world.daemon) == {"finished_alone": CALLS, "rejoined": CALLS})
    page = samples(world.port)
    assert page['openai_proxy_tokens_total{kind="output",model="gpt-4o-mini"}'] == 5 * sum(asked.values())
    assert page["openai_proxy_in_flight_requests"] == 0


def test_a_retry_that_reaches_another_worker_joins(start):
    """The workers of a machine know of each other's calls."""
    world = start(env={**FINISH, "WORKERS": "2"})
    more = threading.Event()

    def script(call):
        call.read_body()
        assert more.wait(PATIENCE_S)
        call.reply_json(COMPLETION)

    world.upstream.script = script
    document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    first, second = clients_of_each(world.daemon, world.port).values()
    first.send(post(KEY, document))
    assert eventually(lambda: len(world.upstream.calls) == 1)
    first.close()
    assert eventually(lambda: downstream_connections(world) < 3)
    second.send(post(KEY, document, headers=["x-stainless-retry-count: 1"]))
    assert eventually(lambda: samples(world.port)["openai_proxy_in_flight_requests"] == 2)
    more.set()
    assert second.response().status == 200
    assert len(world.upstream.calls) == 1
    assert eventually(lambda: outcomes(world.daemon) == {"finished_alone": 1, "rejoined": 1})
    second.close()


ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
AGAIN = ["x-stainless-retry-count: 1"]


def leave_and_come_again(world, **headers):
    """Return the client of another worker whose retry has begun to read the stream that the first one's client left."""
    pids = clients_of_each(world.daemon, world.port)
    (first_pid, first), (_, second) = pids.items()
    first.send(post(KEY, ASKED))
    first.read_until(b"one")
    first.reset()
    assert eventually(lambda: downstream_connections(world) < 3)
    second.send(post(KEY, ASKED, headers=AGAIN))
    second.read_until(b"data: one\n\n")
    return first_pid, second


def test_a_stream_that_is_joined_from_another_worker_comes_live(start):
    """Its first event is there before the upstream has said more; then the rest, to the last byte."""
    world = start(env={**FINISH, "WORKERS": "2"})
    world.upstream.script = stream = LedStream()
    _, second = leave_and_come_again(world)
    assert not stream.go_on.is_set()
    stream.go_on.set()
    assert second.read_until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert len(world.upstream.calls) == 1
    assert eventually(lambda: outcomes(world.daemon) == {"finished_alone": 1, "rejoined": 1})
    second.close()


def test_a_stream_from_another_worker_that_dies_is_cut(start):
    """What its client has had looks like no whole answer; the next retry calls anew, once."""
    world = start(env={**FINISH, "WORKERS": "2"})
    world.upstream.script = stream = LedStream()
    first_pid, second = leave_and_come_again(world)
    os.kill(first_pid, signal.SIGKILL)
    with pytest.raises(Ended):
        second.read_until(b"0\r\n\r\n")
    assert second.end == "reset"
    stream.go_on.set()
    with Client(world.port) as third:
        third.send(post(KEY, ASKED, headers=AGAIN))
        assert third.response().body == stream.whole
    assert len(world.upstream.calls) == 2
    second.close()


def test_an_upstream_that_dies_cuts_the_client_at_the_other_worker(start):
    """As it cuts one that reads at the same worker."""
    world = start(env={**FINISH, "WORKERS": "2"})
    world.upstream.script = stream = LedStream()
    stream.is_cut = True
    _, second = leave_and_come_again(world)
    stream.go_on.set()
    with pytest.raises(Ended):
        second.read_until(b"0\r\n\r\n")
    assert second.end == "reset"
    assert eventually(lambda: outcomes(world.daemon) == {"upstream_truncated": 2})
    second.close()


def test_a_reload_and_a_drain_leave_a_client_at_the_other_worker_alone(start):
    """The configuration is another, then the worker with the call must end: the answer still comes whole."""
    world = start(env={**FINISH, "WORKERS": "2"})
    world.upstream.script = stream = LedStream()
    first_pid, second = leave_and_come_again(world)
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    os.kill(first_pid, signal.SIGTERM)
    assert eventually(lambda: "draining: 1 requests still run" in world.daemon.log)
    stream.go_on.set()
    assert second.read_until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert len(world.upstream.calls) == 1
    assert all_gone([first_pid])
    second.close()


def test_a_stream_goes_on_for_a_client_that_comes_back(start):
    """What it has had already, then the live rest; with the default, the call ends with its client."""
    document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    more = threading.Event()

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n')
        assert more.wait(PATIENCE_S)
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()

    world = start(env={**FINISH, "REJOIN_S": "20"})
    world.upstream.script = script
    with Client(world.port) as client:
        client.send(post(KEY, document))
        client.read_until(b"one")
    with Client(world.port) as client:
        client.send(post(KEY, document, headers=["x-stainless-retry-count: 1"]))
        client.read_until(b"one")
        more.set()
        assert client.read_until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert len(world.upstream.calls) == 1
    assert eventually(lambda: sum(outcomes(world.daemon).values()) == 2)
    assert outcomes(world.daemon) == {"finished_alone": 1, "rejoined": 1}
    assert total(metrics(world.port), "openai_proxy_client_disconnects_total") == 0
