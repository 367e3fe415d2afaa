"""Requests that come again and again, through a real daemon with an embedded cache."""

from __future__ import annotations

import json

from world.client import ask, verdict
from world.daemon import configured
from world.pages import samples
from world.requests import cacheable_chat as chat
from world.requests import embed, get
from world.scripts import answer, tell_who_and_what
from world.waiting import eventually

MISS, HIT = (200, b"miss"), (200, b"hit")


def test_an_answer_that_is_changed_on_its_way_is_changed_every_time(start):
    """Thoughts are removed from every repeat, and parameters that are set count in each."""
    world = start(env={"CACHE__URL": "memory:", "THINK__MODE": "strip", "LLM_PARAMS": "model=m,top_k=40"})
    message = {"role": "assistant", "content": "<think>hm</think>yes"}
    world.upstream.begin(answer(document={"choices": [{"index": 0, "message": message}]}))
    answers = [ask(world.port, chat("x")) for _ in range(4)]
    assert [verdict(each) for each in answers] == [MISS, HIT, HIT, HIT]
    assert {json.loads(each.body)["choices"][0]["message"]["content"] for each in answers} == {"yes"}
    (call,) = world.upstream.calls
    assert json.loads(call.body)["top_k"] == 40


def test_a_repeat_is_nobody_elses(start, tmp_path):
    """Keys of one upstream key: each has its own answers, and one that may not ask gets none."""
    world = start(
        **configured(
            tmp_path,
            """
            upstream.api_key = "sk-up"
            cache.url = "memory:"
            [[keys]]
            name = "one"
            key = "sk-one"
            [[keys]]
            name = "two"
            key = "sk-two"
            models = ["other"]
            """,
        )
    )
    world.upstream.begin(tell_who_and_what)
    assert [verdict(ask(world.port, embed("x", "sk-one"))) for _ in range(3)] == [MISS, HIT, HIT]
    assert [ask(world.port, embed("x", key)).status for key in ("sk-two", "sk-three")] == [403, 401]
    assert verdict(ask(world.port, get("models", "sk-two"))) == MISS


def test_repeats_are_reported_as_hits(start):
    """Metrics and records have the model and the bytes of each repeat."""
    world = start(env={"CACHE__URL": "memory:", "OBSERVERS": "json:-"})
    world.upstream.begin(tell_who_and_what)
    raw = embed("x")
    for _ in range(4):
        ask(world.port, raw)
    found = samples(world.port)
    assert found['openai_proxy_cache_requests_total{endpoint="embeddings",result="hit"}'] == 3.0

    def records():
        return [json.loads(line) for line in world.daemon.log.splitlines() if line.startswith("{")]

    assert eventually(lambda: len(records()) >= 4)
    hits = [record for record in records() if record["cached"]]
    assert len(hits) == 3
    for name in ("model", "usage", "cost_usd", "request_bytes", "response_bytes", "status", "streaming"):
        assert len({json.dumps(hit[name]) for hit in hits}) == 1
    assert hits[2]["model"] == "m"
