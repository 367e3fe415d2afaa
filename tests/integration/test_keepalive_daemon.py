"""Comments in silent streams, as the real `openai` SDK and a bare client see them."""

import threading

import openai
import pytest
from world.client import Client
from world.requests import post
from world.scripts import delta, events
from world.waiting import PATIENCE_S

KEY = "sk-client-0123456789"
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
COMMENT = b"d\r\n: keep-alive\n\r\n"


def sdk(port):
    return openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)


def test_silence_before_and_within_a_stream(start):
    """The client sees comments, then the events as they are; a failure after the head is an event and a reset."""
    world = start(env={"KEEPALIVE_S": "0.15", "KEEPALIVE_BEFORE_HEAD": "true"})
    head, rest = threading.Event(), threading.Event()
    said = events(delta("one", index=0), delta("two", index=0))

    def script(call):
        call.read_body()
        assert head.wait(PATIENCE_S)
        call.start_stream()
        call.chunk(said[0])
        assert rest.wait(PATIENCE_S)
        for each in said[1:]:
            call.chunk(each)
        call.end_stream()

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(post(KEY, HELLO))
        began = client.read_until(COMMENT)
        assert began.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-request-id: proxy-")
        head.set()
        client.read_until(said[0])
        client.read_until(COMMENT)
        rest.set()
        assert (
            client.read_until(b"0\r\n\r\n").replace(COMMENT, b"").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        )
    with sdk(world.port) as client:
        assert (
            "".join(each.choices[0].delta.content or "" for each in client.chat.completions.create(**HELLO))
            == "onetwo"
        )
    head.clear()

    def failing(call):
        call.read_body()
        assert head.wait(PATIENCE_S)
        call.reply_json(
            {"error": {"message": "no room", "type": "t", "param": None, "code": "c"}}, b"503 Busy"
        )

    world.upstream.script = failing
    with sdk(world.port) as client, pytest.raises(openai.APIError, match="no room"):
        threading.Timer(0.5, head.set).start()
        list(client.chat.completions.create(**HELLO))
    with Client(world.port) as client:
        head.clear()
        client.send(post(KEY, {**HELLO, "stream": False}))
        threading.Timer(0.5, head.set).start()
        assert client.response().status == 503


def test_an_error_after_its_head_is_reported_in_its_own_words(start):
    """Servers send head and body in two writes: the program saw "The upstream answered 503." and nothing else."""
    world = start(env={"KEEPALIVE_S": "0.1", "KEEPALIVE_BEFORE_HEAD": "true"})
    fails, sends_body = threading.Event(), threading.Event()
    error = b'{"error": {"message": "no room", "type": "t", "param": null, "code": "c"}}'

    def script(call):
        call.read_body()
        assert fails.wait(PATIENCE_S)
        head = b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        call.send(head % len(error) + error[:9])
        assert sends_body.wait(PATIENCE_S)
        call.send(error[9:])

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(post(KEY, HELLO))
        client.read_until(COMMENT)
        fails.set()
        client.read_until(COMMENT)
        sends_body.set()
        assert b"data: " + error + b"\n\n" in client.read_until(b"}}\n\n")
        assert not client.rest().endswith(b"0\r\n\r\n")
