"""The real `openai` SDK before two upstreams: its first call is answered by the other one."""

import functools

import openai
import pytest
from world.client import ask
from world.pages import get_json, metrics, total
from world.scripts import COMPLETION, answer, delta, events, failure, stream
from world.waiting import eventually
from world.world import before_two

KEY = "sk-client-0123456789"
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def two(start, second, tmp_path):
    """Start a daemon before two upstreams, the second one in reserve."""
    return functools.partial(before_two, start, second, tmp_path)


def sdk(port, **options):
    return openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", **options)


FAILURES = {
    "429": failure(b"429 Too Many Requests", "rate_limit_exceeded"),
    "quota": failure(b"429 Too Many Requests", "insufficient_quota"),
    "500": failure(b"500 Internal Server Error"),
    "529": failure(b"529 Overloaded"),
}


@pytest.mark.parametrize("kind", [*FAILURES, "dead"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("max_retries", ["0", "2"])
def test_the_first_call_is_answered(two, second, kind, streamed, max_retries):
    """From a limit, a failure and a dead upstream; each upstream is asked once, and the SDK never repeats."""
    world = two(env={"RETRY__MAX_RETRIES": max_retries})
    second.script = stream(*events(delta("hello"))) if streamed else answer()
    if kind == "dead":
        world.upstream.close()
    else:
        world.upstream.script = FAILURES[kind]
    with sdk(world.port, max_retries=0) as client:
        if streamed:
            with client.chat.completions.create(**HELLO, stream=True) as got:
                said = "".join(chunk.choices[0].delta.content or "" for chunk in got)
        else:
            said = client.chat.completions.create(**HELLO).choices[0].message.content
    assert said == COMPLETION["choices"][0]["message"]["content"]
    assert len(second.calls) == 1
    assert len(world.upstream.calls) == (0 if kind == "dead" else 1)


def test_a_stream_that_begins_with_an_error(two, second):
    """Behind a 200: the SDK sees the other upstream's stream."""
    world = two()
    world.upstream.script = stream(b'data: {"error":{"message":"no","code":"insufficient_quota"}}\n\n')
    second.script = stream(*events(delta("hello")))
    with (
        sdk(world.port, max_retries=0) as client,
        client.chat.completions.create(**HELLO, stream=True) as got,
    ):
        assert "".join(chunk.choices[0].delta.content or "" for chunk in got) == "hello"


def test_what_the_operator_sees(two, second):
    """A dead upstream is down in the metrics; a refused key is a warning; attempts are explained at debug."""
    world = two(env={"LOG_LEVEL": "debug"})
    second.script = failure(b"401 Unauthorized", "invalid_api_key")
    world.upstream.close()
    with sdk(world.port, max_retries=0) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**HELLO)
    assert caught.value.body["code"] == "upstream_unreachable"
    page = metrics(world.port)
    assert total(page, 'openai_proxy_upstream_up{upstream="first"}') == 0
    assert total(page, 'openai_proxy_upstream_up{upstream="second"}') == 1
    assert eventually(lambda: get_json(world.port, "/health")["upstreams"][0]["reachable"] is False)
    assert total(metrics(world.port), 'openai_proxy_upstream_circuit_open{model="all",upstream="first"}') == 1
    log = world.daemon.log
    assert "upstream second refuses the key that is configured for it" in log
    port = world.upstream.url.removesuffix("/v1").rpartition(":")[2]
    assert (
        f"upstream first failed (This proxy could not connect to its upstream 127.0.0.1: the connection was refused. (127.0.0.1:{port}"
        in log
    )
    assert "sk-" not in log
    assert ask(world.port, b"GET /health/live HTTP/1.1\r\nHost: p\r\n\r\n").status == 200
