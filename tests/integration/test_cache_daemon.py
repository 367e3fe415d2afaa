"""The embedded cache as its clients meet it through a real daemon."""

from __future__ import annotations

import gzip
import json
import time

import pytest
from fakes import JSON
from world.client import ask, verdict
from world.daemon import configured
from world.pages import samples
from world.requests import ask_for, embed, get
from world.requests import cacheable_chat as chat
from world.scripts import tell_who_and_what
from world.waiting import eventually

CACHED = {"CACHE__URL": "memory:"}
MISS, HIT, BYPASS = (200, b"miss"), (200, b"hit"), (200, None)


def _head(response):
    return [(n.lower(), v) for n, v in response.headers if n.lower() not in (b"x-cache", b"age")]


def test_a_hit_is_the_miss_again(cached):
    """The same bytes and head lines come back, with `x-cache` and `age`, and the upstream is not asked."""
    started = time.monotonic()
    first, second = (ask(cached.port, embed("x")) for _ in range(2))
    assert (verdict(first), verdict(second)) == (MISS, HIT)
    assert second.body == first.body
    assert _head(second) == _head(first)
    assert 0 <= int(second.header(b"age")) <= time.monotonic() - started
    assert first.header(b"age") is None
    assert len(cached.upstream.calls) == 1


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_without_a_length_is_framed_anew(cached, version):
    """An answer that came chunked is whole for every client, from the cache too."""

    def script(call):
        call.read_body()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        call.chunk(b'{"object":')
        call.chunk(b'"list"}')
        call.end_stream()

    cached.upstream.begin(script)
    raw = embed("x").replace(b"HTTP/1.1", b"HTTP/" + version)
    for expected in (MISS, HIT):
        response = ask(cached.port, raw)
        assert verdict(response) == expected
        assert (response.whole, response.body) == (True, b'{"object":"list"}')
        assert response.framing == ("chunked" if version == b"1.1" else "close")


def test_spacing_and_order_do_not_matter(cached):
    """The same JSON written differently is the same question; another value is not."""
    bodies = [
        b'{"model":"m","input":"x"}',
        b'{ "input": "x",\n "model": "m" }',
        b'{"model":"m","input":"\\u0078"}',
        b'{"model":"m","input":"x "}',
        b'{"model":"m","input":"x","dimensions":1}',
        b'{"model":"m","input":"x","dimensions":1.0}',
    ]
    seen = [verdict(ask(cached.port, ask_for("embeddings", None, body=body))) for body in bodies]
    assert seen == [MISS, HIT, HIT, MISS, MISS, MISS]


@pytest.mark.parametrize("path", ["models", "models/gpt-4o"])
def test_models_are_cached(cached, path):
    """A list of models is kept, whether or not the client says that it sends no body."""
    asked = [get(path), get(path, None, "Content-Length: 0"), get(path)]
    assert [verdict(ask(cached.port, raw)) for raw in asked] == [MISS, HIT, HIT]
    assert verdict(ask(cached.port, get(path, "sk-b"))) == MISS


def test_a_deleted_model_is_gone_from_the_list(cached):
    """Who deletes a model gets the list from the upstream again, from the cache only what was asked for since."""
    pages = [get("models"), get("models/m"), get("models", None, "Accept-Encoding: gzip")]
    of_another = get("models", "sk-another")
    for expected in (MISS, HIT, HIT):
        assert {verdict(ask(cached.port, raw)) for raw in (*pages, of_another)} == {expected}
    assert verdict(ask(cached.port, get("models/m", method=b"DELETE"))) == BYPASS
    for expected in (MISS, HIT):
        assert {verdict(ask(cached.port, raw)) for raw in pages} == {expected}
    assert verdict(ask(cached.port, of_another)) == HIT


def test_a_head_request_is_not_answered_from_a_get(cached):
    """HEAD passes by the cache, both ways, and has no body."""
    for raw in (get("models", method=b"HEAD"), get("models"), get("models", method=b"HEAD")):
        response = ask(cached.port, raw, head_only=raw.startswith(b"HEAD"))
        assert response.status == 200
    assert [call.method for call in cached.upstream.calls] == [b"HEAD", b"GET", b"HEAD"]


def test_cache_control_is_obeyed(cached):
    """`no-cache` refreshes, `no-store` passes by, `only-if-cached` never asks, `max-age=0` wants a new one."""

    def wanting(text, wish):
        return verdict(ask(cached.port, embed(text, None, f"Cache-Control: {wish}")))

    refused = ask(cached.port, embed("x", None, "Cache-Control: only-if-cached"))
    assert (refused.status, refused.error["code"]) == (504, "not_cached")
    assert wanting("x", "no-store") == BYPASS
    assert wanting("x", "no-cache") == MISS
    assert wanting("x", "only-if-cached") == HIT
    assert wanting("x", "max-age=0") == MISS
    assert wanting("x", "max-age=60") == HIT
    assert len(cached.upstream.calls) == 3


def test_no_cache_replaces_the_entry(cached):
    """What `no-cache` fetched is what the next client gets."""
    numbers = iter(range(9))

    def script(call):
        call.read_body()
        call.reply_json({"n": next(numbers)})

    cached.upstream.begin(script)
    raws = [embed("x"), embed("x", None, "Cache-Control: no-cache"), embed("x")]
    assert [json.loads(ask(cached.port, raw).body)["n"] for raw in raws] == [0, 1, 1]


def test_an_entry_expires(start):
    """After its time to live an answer is requested again; `age` shows how old it is."""
    world = start(env={**CACHED, "CACHE__TTL_S__EMBEDDINGS": "5"})
    world.upstream.begin(tell_who_and_what)
    assert verdict(ask(world.port, embed("x"))) == MISS
    aged = []
    assert eventually(lambda: aged.append(ask(world.port, embed("x"))) or aged[-1].header(b"age") != b"0")
    assert {verdict(each) for each in aged} == {HIT}
    assert aged[-1].header(b"age") in (b"1", b"2", b"3", b"4")
    assert eventually(lambda: verdict(ask(world.port, embed("x"))) == MISS)


def test_codings_are_kept_apart(cached):
    """Who accepts gzip gets the stored gzip bytes; who does not never does."""
    plain = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}'

    def script(call):
        call.read_body()
        if b"gzip" in (call.header(b"accept-encoding") or b""):
            call.reply(
                gzip.compress(plain), [JSON, (b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding")]
            )
        else:
            call.reply(plain, [JSON])

    cached.upstream.begin(script)
    for lines in (("Accept-Encoding: gzip",), ("Accept-Encoding: identity",), ()):
        first, second = (ask(cached.port, embed("x", None, *lines)) for _ in range(2))
        assert (verdict(first), verdict(second)) == (MISS, HIT)
        assert first.body == second.body
        assert (second.header(b"content-encoding") == b"gzip") is (lines == ("Accept-Encoding: gzip",))
        assert (gzip.decompress(second.body) if second.header(b"content-encoding") else second.body) == plain


def test_what_is_too_large_is_not_kept(start):
    """An answer above an eighth of the memory passes whole, each time from the upstream."""
    world = start(env={**CACHED, "CACHE__MAX_BYTES": str(1 << 20)})
    sizes = {"small": 100_000, "large": 140_000}
    world.upstream.begin(lambda call: call.reply(b"x" * sizes[json.loads(call.read_body())["input"]], [JSON]))
    seen = [ask(world.port, embed(text)) for text in ("small", "small", "large", "large")]
    assert [verdict(each) for each in seen] == [MISS, HIT, MISS, MISS]
    assert [len(each.body) for each in seen] == [100_000, 100_000, 140_000, 140_000]


def test_rules_widen_and_narrow(start, tmp_path):
    """`[[cache.rules]]` may cache a sampled answer, keep an endpoint out, and set its own time."""
    toml = """
[cache]
url = "memory:"
[[cache.rules]]
endpoint = "embeddings"
model = "fresh-*"
condition = "never"
[[cache.rules]]
endpoint = "chat/completions"
model = "cold-*"
condition = "temperature_0"
[[cache.rules]]
endpoint = "moderations"
ttl_s = 60
"""
    world = start(**configured(tmp_path, toml))
    world.upstream.begin(tell_who_and_what)

    def twice(raw):
        return [verdict(ask(world.port, raw)) for _ in range(2)]

    assert twice(embed("x", model="fresh-1")) == [BYPASS, BYPASS]
    assert twice(embed("x")) == [MISS, HIT]
    assert twice(chat("x", seed=None, model="cold-1")) == [MISS, HIT]
    assert twice(chat("x", seed=None)) == [BYPASS, BYPASS]
    assert twice(ask_for("moderations", {"input": "x"})) == [MISS, HIT]


def test_hits_are_counted_and_cost_nothing(start):
    """A hit is a request of the limit but takes no model tokens, and metrics tell hits from misses."""
    world = start(
        env={
            **CACHED,
            "RATE_LIMIT__REQUESTS_PER_MINUTE": "4",
            "RATE_LIMIT__TOKENS_PER_MINUTE": "10000",
            "OBSERVERS": "json:- prometheus",
        }
    )
    world.upstream.begin(tell_who_and_what)
    raws = [embed("x"), embed("x"), embed("x"), embed("x", None, "Cache-Control: no-store")]
    answers = [ask(world.port, raw) for raw in raws]
    assert [verdict(each) for each in answers] == [MISS, HIT, HIT, BYPASS]
    left = [ask(world.port, embed("y")).status]
    assert left == [429]
    found = samples(world.port)
    results = {
        result: found.get(f'openai_proxy_cache_requests_total{{endpoint="embeddings",result="{result}"}}')
        for result in ("hit", "miss", "bypass")
    }
    assert results == {"hit": 2.0, "miss": 1.0, "bypass": 1.0}
    records = [json.loads(line) for line in world.daemon.log.splitlines() if line.startswith("{")]
    assert [record["cached"] for record in records[:4]] == [False, True, True, False]
    assert [record["cost_usd"] for record in records[1:3]] == [0, 0]
    assert [record["usage"]["input_tokens"] for record in records[:3]] == [5, 5, 5]
