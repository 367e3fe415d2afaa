"""A daemon whose upstream is `mock:`, met by the openai library and by bytes."""

import asyncio
import json
import signal

import pytest
from world.client import Client, ask
from world.requests import chat, request
from world.waiting import eventually
from world.world import serving

openai = pytest.importorskip("openai", reason="pip install openai")

HELLO = [{"role": "user", "content": "Hello there, mock"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
STREAM = b'{"model": "mock-echo", "stream": true, "messages": [{"role": "user", "content": "%b"}]}'


@pytest.fixture(scope="module")
def mocked(tmp_path_factory):
    """Share a daemon with the mock upstream."""
    with serving(tmp_path_factory.mktemp("mock"), options=["--upstream", "mock:"]) as world:
        yield world


@pytest.fixture
def client(mocked):
    """Talk to it as the library does, without trying again."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{mocked.port}/v1", api_key="anything", max_retries=0
    ) as made:
        yield made


def test_it_answers_without_any_key(mocked):
    """The first request of somebody who has none; /health names the mock."""
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    body = json.dumps({"model": "gpt-4o", "messages": HELLO}).encode()
    assert ask(mocked.port, raw % len(body) + body).status == 200
    health = json.loads(ask(mocked.port, request(target=b"/health")).body)
    assert (health["status"], health["upstream"]["url"]) == ("healthy", "mock:")
    assert health["upstream"]["reachable"] is True


def test_chat_and_stream_say_the_same(client):
    """With the usage of both."""
    asked = {"model": "gpt-4o-mini", "messages": HELLO}
    plain = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage == plain.usage
    assert plain.usage.total_tokens > plain.usage.prompt_tokens > 0


def test_tools_are_called_and_answered(client):
    """A whole turn of an agent, plain and by the streaming helper."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}]
    asked = {"model": "mock-tools", "messages": HELLO, "tools": tools}
    message = client.chat.completions.create(**asked).choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments)["city"]
    with client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.tool_calls[0].id == call.id
    result = {"role": "tool", "tool_call_id": call.id, "content": "snow"}
    asked["messages"] = [*HELLO, message.model_dump(exclude_none=True), result]
    final = client.chat.completions.create(**asked).choices[0]
    assert (final.finish_reason, final.message.content) == ("stop", "The tool answered: snow")


def test_structured_output_is_parsed(client):
    """By the library, from a class."""
    from pydantic import BaseModel

    class Event(BaseModel):
        name: str
        days: list[int]

    asked = {"model": "gpt-4o", "messages": HELLO}
    parsed = client.chat.completions.parse(**asked, response_format=Event).choices[0].message.parsed
    assert isinstance(parsed, Event)
    response = client.responses.parse(model="gpt-4o", input="an event", text_format=Event)
    assert isinstance(response.output_parsed, Event)


def test_embeddings_are_the_same_in_either_form(client):
    """The library asks for base64 by itself."""
    coded = client.embeddings.create(model="e", input=["a", "b"], dimensions=16)
    plain = client.embeddings.create(model="e", input="b", dimensions=16, encoding_format="float")
    assert coded.data[1].embedding == plain.data[0].embedding
    assert len(client.embeddings.create(model="e", input="a").data[0].embedding) == 1536


def test_responses_plain_streamed_and_stored(client):
    """And gone on from."""
    plain = client.responses.create(model="mock-echo", input="some words")
    assert plain.output_text == "some words"
    with client.responses.stream(model="mock-echo", input="some words") as stream:
        assert stream.get_final_response().output_text == "some words"
    assert client.responses.retrieve(plain.id).output_text == "some words"
    after = client.responses.create(model="mock-echo", input="more", previous_response_id=plain.id)
    assert after.output_text == "more"
    client.responses.delete(plain.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(plain.id)


def test_files_are_kept(client):
    """Uploaded, listed, read back, deleted."""
    content = bytes(range(256)) * 100
    made = client.files.create(file=("a.jsonl", content), purpose="batch")
    assert made.id in [each.id for each in client.files.list()]
    assert client.files.retrieve(made.id).filename == "a.jsonl"
    assert client.files.content(made.id).read() == content
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_the_other_endpoints_of_the_metered_set(client):
    """Completions, moderations, speech and models."""
    assert client.completions.create(model="m", prompt="a").choices[0].text
    assert client.moderations.create(input="a").results[0].flagged is False
    assert client.audio.speech.create(model="m", voice="alloy", input="hi").read().startswith(b"\xff\xfb")
    assert "mock-text" in [each.id for each in client.models.list()]
    assert client.models.retrieve("any/name").id == "any/name"


def test_what_fails_on_purpose_fails_as_at_openai(client):
    """With the library's own classes of errors, and an id."""
    for model, error in (
        ("mock-429", openai.RateLimitError),
        ("mock-500", openai.InternalServerError),
        ("mock-cut", openai.APIConnectionError),
    ):
        with pytest.raises(error):
            client.chat.completions.create(model=model, messages=HELLO)
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(prompt="a cat")
    assert (caught.value.code, bool(caught.value.request_id)) == ("not_mocked", True)


def test_many_ask_at_once(mocked):
    """Each gets its own echo, streamed."""

    async def one(client, number):
        stream = await client.chat.completions.create(
            model="mock-echo", messages=[{"role": "user", "content": f"number {number}"}], stream=True
        )
        return "".join([each.choices[0].delta.content or "" async for each in stream])

    async def run():
        url = f"http://127.0.0.1:{mocked.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(50)))

    assert asyncio.run(run()) == [f"number {number}" for number in range(50)]


# ---- time, and those who leave


def last_outcome(daemon):
    lines = [line for line in daemon.log.splitlines() if "/v1/chat/completions" in line]
    return lines[-1] if lines else ""


def test_a_client_that_leaves_in_mid_stream_ends_it(start):
    """At once, although the answer would have taken an hour."""
    world = start(url="mock:tokens_per_s=1")
    with Client(world.port) as client:
        client.send(chat(STREAM % (b"word " * 3600)))
        client.read_until(b'"content":"word')
    assert eventually(lambda: " client_gone " in last_outcome(world.daemon))


def test_a_client_that_reads_nothing_holds_up_only_itself(start):
    """What it does not take is not made."""
    world = start(url="mock:")
    body = b'{"model": "m", "input": [%b]}' % b",".join(b'"%d"' % n for n in range(2000))
    raw = request(b"POST", b"/v1/embeddings", body, b"Content-Type: application/json\r\n")
    assert ask(world.port, chat()).status == 200
    before = world.daemon.resident_bytes()
    clients = [Client(world.port, receive_buffer=4096) for _ in range(8)]
    try:
        for client in clients:
            client.send(raw)
            client.read_until(b"HTTP/1.1 200")
        assert ask(world.port, chat()).status == 200
        # each of them would be 60 MB
        assert world.daemon.resident_bytes() - before < 40 * 1024 * 1024
    finally:
        for client in clients:
            client.close()


def test_a_stream_is_finished_while_the_daemon_drains(start):
    """And nothing new is taken."""
    world = start(url="mock:tokens_per_s=10")
    with Client(world.port) as client:
        client.send(chat(STREAM % (b"word " * 10)))
        client.read_until(b'"content":"word')
        world.daemon.signal(signal.SIGTERM)
        assert client.read_until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert world.daemon.wait_until_gone()


def test_a_reload_takes_other_parameters_and_keeps_what_runs(start, tmp_path):
    """The same files are there afterwards."""
    config = tmp_path / "c.toml"
    config.write_text("[upstream]\nbase_url = 'mock:tokens_per_s=20'\n")
    world = start(env={"OPENAI_API_BASE": ""}, options=["--config", str(config)])
    form = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    )
    upload = request(b"POST", b"/v1/files", form, b"Content-Type: multipart/form-data; boundary=b\r\n")
    made = json.loads(ask(world.port, upload).body)["id"].encode()
    with Client(world.port) as client:
        client.send(chat(STREAM % (b"word " * 20)))
        client.read_until(b'"content":"word')
        config.write_text("[upstream]\nbase_url = 'mock:error_rate=1'\n")
        world.daemon.signal(signal.SIGHUP)
        assert eventually(lambda: "configuration reloaded" in world.daemon.log)
        assert ask(world.port, chat()).status == 500
        assert client.read_until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    config.write_text("[upstream]\nbase_url = 'mock:'\n")
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: world.daemon.log.count("configuration reloaded") == 2)
    assert ask(world.port, request(target=b"/v1/files/" + made)).status == 200


def test_workers_have_the_mock_too(start):
    """Every one answers; that files are not shared is said at the start."""
    world = start(url="mock:", options=["--workers", "2"])
    for _ in range(6):
        assert ask(world.port, chat()).status == 200
    assert "each worker has uploaded files" in world.daemon.log


def test_an_open_port_is_warned_of(start):
    """Whoever reaches it may call; and the check of a configuration says nothing against it."""
    world = start(url="mock:", ports=["tcp:0:interface=0.0.0.0"])
    assert "anyone who reaches this port can call the upstream, which needs no key" in world.daemon.log
