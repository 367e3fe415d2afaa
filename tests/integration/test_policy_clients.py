"""Keys and limits as OpenAI's own client library meets them."""

import hashlib
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import openai
import pytest
from world.client import ask
from world.daemon import configured
from world.requests import post
from world.scripts import COMPLETION, answer, delta, events
from world.waiting import PATIENCE_S, eventually
from world.world import serving

UPSTREAM_KEY = "sk-upstream-8c0ffee"
KEYS = {
    name: f"sk-{name}-0123456789"
    for name in ("plain", "expired", "narrow", "requests", "tokens", "concurrent", "hashed")
}
TOML = f"""
[[keys]]
name = "plain"
key = "{KEYS["plain"]}"
[[keys]]
name = "expired"
key = "{KEYS["expired"]}"
expires = 2020-01-31T12:00:00Z
[[keys]]
name = "narrow"
key = "{KEYS["narrow"]}"
models = ["gpt-4o*", "text-embedding-3-small"]
[[keys]]
name = "hashed"
key_sha256 = "{hashlib.sha256(KEYS["hashed"].encode()).hexdigest()}"
upstream_key = "sk-upstream-of-its-own"
[[keys]]
name = "requests"
key = "{KEYS["requests"]}"
limits = {{ requests_per_minute = 120 }}
[[keys]]
name = "tokens"
key = "{KEYS["tokens"]}"
limits = {{ tokens_per_minute = 1200 }}
[[keys]]
name = "concurrent"
key = "{KEYS["concurrent"]}"
limits = {{ concurrent_requests = 1 }}
"""
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("clients")
    env = {
        "OPENAI_API_KEY": UPSTREAM_KEY,
        "RETRY__MAX_RETRIES": "3",
        "OBSERVERS": "console json:file=exchanges.json exchange-log:dir=logs",
        "LOG_LEVEL": "debug",
    }
    with serving(directory, env=env, **configured(directory, TOML)) as world:
        yield world
        world.upstream.begin(answer())
        with openai.OpenAI(api_key=KEYS["plain"], base_url=f"http://127.0.0.1:{world.port}/v1") as client:
            say(client)  # the tests that ran before it may have had nothing but refusals
    written = [
        path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".toml"
    ]
    assert any(b"chatcmpl-1" in text for text in written)
    for key in (*KEYS.values(), UPSTREAM_KEY, "sk-upstream-of-its-own", "sk-unknown-0123456789"):
        assert [text for text in written if key.encode() in text] == [], key


@pytest.fixture
def calls(world):
    world.upstream.begin(answer())
    return world.upstream.calls


@pytest.fixture
def client(world):
    opened = []

    def connect(key, **options):
        made = openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{world.port}/v1", **options)
        opened.append(made)
        return made

    yield connect
    for made in opened:
        made.close()


def say(client, **options):
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": MESSAGES, **options})


@pytest.mark.parametrize(
    ("key", "model", "error", "code"),
    [
        ("sk-unknown-0123456789", "gpt-4o", openai.AuthenticationError, "invalid_api_key"),
        (KEYS["plain"] + "x", "gpt-4o", openai.AuthenticationError, "invalid_api_key"),
        (KEYS["plain"][:-1], "gpt-4o", openai.AuthenticationError, "invalid_api_key"),
        (KEYS["expired"], "gpt-4o", openai.AuthenticationError, "expired_api_key"),
        (KEYS["narrow"], "o3", openai.PermissionDeniedError, "model_not_allowed"),
    ],
)
def test_a_refused_key_is_the_error_the_library_knows(client, calls, key, model, error, code):
    """The library raises its own class with our code, at once, and nothing goes upstream."""
    with pytest.raises(error) as raised:
        say(client(key), model=model)
    assert code == raised.value.code
    assert raised.value.response.headers["x-request-id"].startswith("proxy-")
    assert calls == []


def test_allowed_models_and_hashed_keys_pass(client, calls):
    """A key goes upstream as its own upstream key, or the common one; never as itself."""
    assert say(client(KEYS["narrow"])).choices[0].message.content == "hello"
    assert say(client(KEYS["hashed"])).id == "chatcmpl-1"
    assert [call.header(b"authorization") for call in calls] == [
        b"Bearer " + UPSTREAM_KEY.encode(),
        b"Bearer sk-upstream-of-its-own",
    ]
    for call in calls:
        assert b"sk-narrow" not in call.head
        assert b"sk-hashed" not in call.head


def test_the_library_waits_as_long_as_it_is_told_and_succeeds(client, calls, world):
    """Over its requests a minute, a client's own retry comes when the bucket has one again."""
    impatient, patient = client(KEYS["requests"], max_retries=0), client(KEYS["requests"], max_retries=2)
    for _ in range(5000):  # two more a second come meanwhile
        try:
            say(impatient)
        except openai.RateLimitError as error:
            refused = error
            break
    headers = refused.response.headers
    assert (refused.code, refused.type) == ("rate_limit_exceeded", "requests")
    assert headers["x-ratelimit-limit-requests"] == "120"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert re.fullmatch(r"(1m\ds|[\d.]+s)", headers["x-ratelimit-reset-requests"])
    assert 0 < int(headers["retry-after-ms"]) <= 500
    assert headers["retry-after"] == "1"
    before, started = len(calls), time.monotonic()
    assert say(patient).id == "chatcmpl-1"
    assert time.monotonic() - started < PATIENCE_S
    assert len(calls) == before + 1


def test_over_the_tokens_the_library_succeeds_when_they_are_there_again(client, calls, world):
    """The real usage is charged: a large answer leads into debt, which is waited for."""
    usage = {"prompt_tokens": 600, "completion_tokens": 680, "total_tokens": 1280}
    world.upstream.script = answer(document={**COMPLETION, "usage": usage})
    tenant = client(KEYS["tokens"], max_retries=3)
    started = time.monotonic()
    say(tenant)
    with pytest.raises(openai.RateLimitError) as raised:
        say(client(KEYS["tokens"], max_retries=0))
    assert raised.value.type == "tokens"
    assert raised.value.response.headers["x-ratelimit-remaining-tokens"] == "0"
    say(tenant)
    assert 3.8 < time.monotonic() - started < PATIENCE_S  # 80 too many, and 20 come in a second


def test_a_second_stream_at_once_is_refused_until_the_first_has_ended(client, calls, world):
    """The library retries by itself and gets through when the slot is free."""
    held = client(KEYS["concurrent"], max_retries=0)
    with Stalled(world.upstream) as release:
        running = say(held, stream=True)
        with pytest.raises(openai.RateLimitError) as raised:
            say(held)
        assert raised.value.code == "rate_limit_exceeded"
        release()
        assert "".join(chunk.choices[0].delta.content for chunk in running) == "ab"
    world.upstream.script = answer()
    assert say(client(KEYS["concurrent"], max_retries=2)).id == "chatcmpl-1"


class Stalled:
    """An upstream whose stream waits in the middle until it is released."""

    def __init__(self, upstream):
        self._event = threading.Event()
        first, second, done = events(delta("a"), delta("b"))

        def script(call):
            call.read_body()
            call.start_stream()
            call.chunk(first)
            assert self._event.wait(2 * PATIENCE_S)
            call.chunk(second + done)
            call.end_stream()

        upstream.script = script

    def __enter__(self):
        return self._event.set

    def __exit__(self, *_):
        self._event.set()


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"model":"gpt-4o-mini"}', b'{"messages":[]}'],
)
def test_a_request_that_is_wrong_costs_nothing(world, calls, body):
    """400s of ours are not counted against a limit."""
    for _ in range(3):
        assert ask(world.port, post(KEYS["concurrent"], body)).status == 400
    assert ask(world.port, post(KEYS["concurrent"])).status == 200
    assert len(calls) == 1


def test_a_key_made_by_the_console_script_works(start, tmp_path):
    """What `openai-proxy key new` prints goes into the file as it is, and the key is let in."""
    script = Path(sys.executable).with_name("openai-proxy")
    said = subprocess.run(
        [script, "key", "new", "alice"], check=True, capture_output=True, text=True, timeout=PATIENCE_S
    )
    key = next(line for line in said.stderr.splitlines() if line.startswith("sk-"))
    entry = said.stdout
    assert key not in entry
    world = start(env={"OPENAI_API_KEY": UPSTREAM_KEY}, **configured(tmp_path, entry))
    assert ask(world.port, post(key)).status == 200
    refused = ask(world.port, post(key[:-1]))
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert eventually(lambda: "alice" in world.daemon.log)
    assert key not in world.daemon.log
    assert UPSTREAM_KEY not in world.daemon.log
