"""What policies change in bodies, seen from both ends of a real daemon."""

import gzip
import json

import pytest
from world.client import Client, ask
from world.daemon import configured, whole_lines
from world.requests import post
from world.scripts import COMPLETION, answer, delta, events, stream
from world.waiting import eventually
from world.world import serving

KEY = "sk-client-0123456789"
TOML = """
[[models]]
match = "deep-*"
default_params = { seed = 7, temperature = 0.1 }
params = { extra = { nested = [1, "zwei"] } }
think = { mode = "reasoning_content", start_tag = "<reason>", end_tag = "</reason>" }
[[models]]
match = "kept"
think = { mode = "keep" }
[[models]]
match = "starts-inside"
think = { implicit_start = true }
"""
USAGE = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
USAGE_CHUNK = {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bodies")
    env = {
        "LLM_PARAMS": "model=A,temperature=0.5,top_k=40,stop=null;model=text,max_tokens=200,echo=true;model=S,stream=true",
        "THINK__MODE": "strip",
        "RATE_LIMIT__TOKENS_PER_MINUTE": "100000000",
        "OBSERVERS": "json:file=exchanges.json",
    }
    with serving(directory, env=env, **configured(directory, TOML)) as world:
        yield world


@pytest.fixture(autouse=True)
def _begin(world):
    world.upstream.begin(answer())


def usage_of(world, model):
    """Return the usage in the record of the last exchange with that model, once it is written."""
    file = world.daemon.directory / "exchanges.json"

    def records():
        written = whole_lines(file) if file.exists() else ""
        found = [json.loads(line) for line in written.splitlines()]
        return [record["usage"] for record in found if record["model"] == model]

    assert eventually(records)
    return records()[-1]


@pytest.mark.parametrize(
    ("path", "sent", "arrived"),
    [
        (
            "/v1/chat/completions",
            b'{ "model":"A",\n "temperature": 1e0 , "messages":[], "x":1.10}',
            b'{ "model":"A",\n "temperature": 0.5 , "messages":[], "x":1.10,"top_k":40,"stop":null}',
        ),
        (
            "/v1/completions",
            b'{"model":"text","prompt":"a\\u00e9","max_tokens":9,"unknown":{"b":1,"a":2}}',
            b'{"model":"text","prompt":"a\\u00e9","max_tokens":200,"unknown":{"b":1,"a":2},"echo":true}',
        ),
        (
            "/v1/chat/completions",
            b'{"model":"deep-1","messages":[],"temperature":0.9}',
            b'{"model":"deep-1","messages":[],"temperature":0.9,"seed":7,"extra":{"nested":[1,"zwei"]}}',
        ),
        ("/v1/chat/completions", b'{"model":"a", "messages":[]}', b'{"model":"a", "messages":[]}'),
    ],
)
def test_only_the_parameters_change(world, path, sent, arrived):
    """Values are set where they stand or at the end; every other byte of the body stays."""
    assert ask(world.port, post(KEY, sent, path)).status == 200
    [call] = world.upstream.calls
    assert json.loads(call.body) == json.loads(arrived)
    untouched = sent[1 : sent.index(b'"messages"' if b'"messages"' in sent else b'"max_tokens"')]
    for part in untouched.split(b"1e0"):
        assert part in call.body
    assert call.header(b"content-length") == b"%d" % len(call.body)


def test_a_stream_that_the_configuration_asks_for_is_one(world):
    """`stream=true` of the configuration makes the upstream stream, and usage is asked for and hidden."""
    world.upstream.script = stream(*events(delta("a"), USAGE_CHUNK))
    got = ask(world.port, post(KEY, b'{"model":"S","messages":[]}'))
    sent = json.loads(world.upstream.calls[0].body)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert got.body == b"".join(events(delta("a")))


def document(*texts):
    choices = [
        {"index": n, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
        for n, t in enumerate(texts)
    ]
    return {**COMPLETION, "choices": choices}


def test_thoughts_leave_every_choice_of_a_document(world):
    """Several choices, escapes, several blocks; a lone end tag and the usage stay."""
    body = json.dumps(document("<think>x</think>\n\nA", "B<think>1</think>C<think>2</think>", "</think>D"))
    body = body.replace("<think>", "\\u003cthink\\u003e", 1)

    def script(call):
        call.read_body()
        call.reply(body.encode(), [(b"Content-Type", b"application/json; charset=utf-8")])

    world.upstream.script = script
    got = json.loads(ask(world.port, post(KEY)).body)
    assert [c["message"]["content"] for c in got["choices"]] == ["\n\nA", "BC", "</think>D"]
    assert got["usage"] == USAGE
    assert world.upstream.calls[0].header(b"accept-encoding") == b"identity"


def test_thoughts_move_for_a_model_with_tags_of_its_own(world):
    """`reasoning_content` gets the thoughts; the model's own tags count, the global ones do not."""
    world.upstream.script = answer(document=document("<reason>why</reason>so <think>kept</think>"))
    got = json.loads(ask(world.port, post(KEY, {"model": "deep-2", "messages": []})).body)
    message = got["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("so <think>kept</think>", "why")


def test_a_model_that_keeps_its_thoughts_passes_byte_for_byte(world):
    """If nothing is to be done the upstream's bytes arrive."""
    world.upstream.script = answer(document=document("<think>x</think>A"))
    got = ask(world.port, post(KEY, {"model": "kept", "messages": []}, headers=("Accept-Encoding: gzip",)))
    assert got.body == json.dumps(document("<think>x</think>A")).encode()
    assert world.upstream.calls[0].header(b"accept-encoding") == b"gzip"


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize(
    ("model", "shown"), [("m", "A"), ("kept", "<think>x</think>A"), ("starts-inside", "A")]
)
def test_thoughts_leave_stored_answers_by_their_model(world, coding, model, shown):
    """The model stands in the answer only, which may come compressed although that was not asked for."""
    stored = {**document("<think>x</think>A"), "model": model}
    listed = {"object": "list", "data": [stored], "has_more": False}
    for target, found in (("/v1/chat/completions/chatcmpl-1", stored), ("/v1/chat/completions", listed)):
        body = json.dumps(found).encode()
        body = gzip.compress(body) if coding == "gzip" else body
        headers = [(b"Content-Type", b"application/json"), (b"Content-Encoding", coding.encode())]
        world.upstream.script = lambda call, body=body, headers=headers: call.reply(body, headers)
        request = f"GET {target} HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        got = json.loads(ask(world.port, request.encode()).body)
        (answered,) = got.get("data", [got])
        assert answered["choices"][0]["message"]["content"] == shown


def texts(body):
    """Return the visible text of each choice of a stream."""
    found = {}
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text = choice["delta"].get("content") or ""
                found[choice["index"]] = found.get(choice["index"], "") + text
    return found


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_thoughts_leave_a_stream_however_it_is_cut(world, size):
    """Tags over deltas, characters over reads, two choices at once: the same text for every cut."""
    parts = ["Grüße <th", "ink>geh", "eim</thi", "nk> 🐟 <b>", "<", "thin", "g> ende <"]
    made = [delta(part, index) for part in parts for index in (0, 1)]
    last = [delta("", index, finish_reason="stop") for index in (0, 1)]
    data = b"".join(events(*made, *last, USAGE_CHUNK))
    world.upstream.script = stream(*(data[at : at + size] for at in range(0, len(data), size)))
    got = ask(world.port, post(KEY, {"model": "m", "messages": [], "stream": True}))
    expected = "Grüße  🐟 <b><thing> ende <"
    assert texts(got.body) == {0: expected, 1: expected}
    assert got.body.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in got.body


def test_text_that_is_no_tag_is_not_held_back(world):
    """What cannot be a tag goes out while the upstream is still silent."""

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(events(delta("a < b"), done=False)[0])
        call.receive()

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(post(KEY, {"model": "m", "messages": [], "stream": True}))
        assert client.read_until(b"a < b")


@pytest.mark.parametrize(
    ("model", "first", "shown"),
    [
        ("m", "<think>never", ""),
        ("m", "A<think>never", "A<think>nevermore"),
        ("starts-inside", "never", ""),
    ],
)
def test_a_block_that_never_closes_lets_the_finish_pass(world, model, first, shown):
    """At the start it is a cut thought, later text; the choice's end and the stream's pass."""
    world.upstream.script = stream(*events(delta(first), delta("more"), delta("", finish_reason="stop")))
    got = ask(world.port, post(KEY, {"model": model, "messages": [], "stream": True}))
    assert texts(got.body) == {0: shown}
    assert b'"finish_reason": "stop"' in got.body
    assert got.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("options", "shown"),
    [(None, False), ({"include_usage": False}, False), ({"include_usage": True}, True), ({}, False)],
)
def test_usage_is_read_and_shown_to_who_asked(world, options, shown):
    """The chunk with the usage reaches only a client that asked for it; the record always has it."""
    world.upstream.script = stream(*events(delta("a"), USAGE_CHUNK))
    document = {"model": f"asks {options}", "messages": [], "stream": True}
    if options is not None:
        document["stream_options"] = options
    got = ask(world.port, post(KEY, document))
    assert (b'"usage"' in got.body) is shown
    assert json.loads(world.upstream.calls[0].body)["stream_options"]["include_usage"] is True
    usage = usage_of(world, document["model"])
    assert (usage["input_tokens"], usage["output_tokens"]) == (5, 5)


def test_an_upstream_that_refuses_stream_options_is_asked_without(world):
    """The 400 does not reach the client, and the refusal is remembered."""
    error = {"error": {"message": "unknown field stream_options", "type": "x", "param": None, "code": None}}

    def script(call):
        if b"stream_options" in call.read_body():
            answer(b"400 Bad Request", error)(call)
        else:
            stream(*events(delta("abcdefgh")))(call)

    world.upstream.script = script
    raw = post(KEY, {"model": "old", "messages": [{"role": "user", "content": "12345678"}], "stream": True})
    for _ in range(2):
        got = ask(world.port, raw)
        assert (got.status, texts(got.body)) == (200, {0: "abcdefgh"})
    assert len(world.upstream.calls) == 3
    usage = usage_of(world, "old")
    assert usage["estimated"] is True
    assert usage["output_tokens"] == 2
