"""A daemon that records, and one that replays what it recorded, without a network."""

import json
import signal
import time

import pytest
from world.client import Client, ask
from world.requests import chat, request
from world.upstream import Upstream
from world.waiting import eventually
from world.world import serving

openai = pytest.importorskip("openai", reason="pip install openai")

HELLO = [{"role": "user", "content": "Hello there, cassette"}]
STREAM = b'{"model": "mock-echo", "stream": true, "messages": [{"role": "user", "content": "one two three"}]}'
FORM = (
    b'--b%d\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b%d\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b%d--\r\n'
)


def raw(port, data):
    """Return the bytes of an answer but for Connection and the framing of the hop."""
    answer = ask(port, data)
    return answer.status, answer.reason, sorted(answer.end_to_end), answer.body


def upload(number):
    kind = b"Content-Type: multipart/form-data; boundary=b%d\r\n" % number
    return request(b"POST", b"/v1/files", FORM % (number, number, number), kind)


REQUESTS = {
    "plain": chat(b'{"model": "mock-text", "messages": [{"role": "user", "content": "hi"}]}'),
    "stream": chat(STREAM),
    "error": chat(b'{"model": "mock-429", "messages": [{"role": "user", "content": "hi"}]}'),
    "query": request(target=b"/v1/files?purpose=batch&limit=2"),
    "models": request(target=b"/v1/models"),
    "speech": request(
        b"POST",
        b"/v1/audio/speech",
        b'{"model": "m", "voice": "v", "input": "hello"}',
        b"Content-Type: application/json\r\n",
    ),
    "form": upload(1),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Record a session with a mock that takes its time; return the directory and the answers."""
    directory = tmp_path_factory.mktemp("recorded")
    env = {
        "OPENAI_API_BASE": "mock:latency_s=0.3&tokens_per_s=20",
        "OBSERVERS": "exchange-log:dir=cassettes:raw=true",
    }
    with serving(directory, env=env) as world:
        answers = {name: raw(world.port, data) for name, data in REQUESTS.items()}
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{world.port}/v1", api_key="x", max_retries=0)
        with client:
            assert client.responses.create(model="mock-echo", input="over there").output_text == "over there"
    return directory / "cassettes", answers


def replay(recorded, **env):
    return {"OPENAI_API_BASE": f"replay:{recorded[0]}", **env}


@pytest.fixture
def replaying(start, recorded):
    """Start a daemon that replays the session."""
    return lambda **env: start(env=replay(recorded, **env))


def test_every_answer_comes_again_byte_for_byte(replaying, recorded):
    """Status, headers and body; nobody needs a key."""
    world = replaying()
    for name, data in REQUESTS.items():
        assert (name, raw(world.port, data)) == (name, recorded[1][name])
    upstream = json.loads(ask(world.port, request(target=b"/health")).body)["upstream"]
    assert (upstream["reachable"], upstream["recorded"]) == (True, len(REQUESTS) + 1)
    assert upstream["url"] == f"replay:{recorded[0]}"


def test_spaces_order_and_what_is_ignored_do_not_count(replaying, recorded):
    """Nor does the boundary of a form."""
    world = replaying()
    body = b'{"user": "somebody", "messages":[{"content":"hi","role":"user"}],  "model": "mock-text", "metadata": {"a": "b"}}'
    assert raw(world.port, chat(body)) == recorded[1]["plain"]
    assert raw(world.port, upload(2)) == recorded[1]["form"]
    swapped = request(target=b"/v1/files?limit=2&purpose=batch")
    assert raw(world.port, swapped) == recorded[1]["query"]


def test_the_library_reads_what_is_replayed(replaying):
    """As it reads any answer."""
    world = replaying()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{world.port}/v1", api_key="other") as client:
        assert client.responses.create(model="mock-echo", input="over there").output_text == "over there"
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="mock-text", messages=HELLO)
    assert (caught.value.code, bool(caught.value.request_id)) == ("not_recorded", True)
    assert "messages" in str(caught.value)
    assert "Hello" not in str(caught.value)


def test_a_stream_comes_in_its_own_time(replaying, recorded):
    """Or at once, or at another pace."""
    took = {}
    for timing in ("fast", "real", "0.3"):
        world = replaying(REPLAY__TIMING=timing)
        took[timing] = 60.0
        for _ in range(3):  # a busy machine makes any of them late, not all
            began = time.monotonic()
            assert raw(world.port, chat(STREAM)) == recorded[1]["stream"]
            took[timing] = min(took[timing], time.monotonic() - began)
    assert took["real"] > 0.4
    assert took["fast"] < took["real"]
    assert 0.1 < took["0.3"] < took["real"]


def test_new_files_are_seen_at_a_reload(start, recorded, tmp_path):
    """And a broken line of them is warned of."""
    directory = tmp_path / "c"
    directory.mkdir()
    lines = [line for file in recorded[0].glob("*.jsonl") for line in file.read_bytes().splitlines(True)]
    models = next(line for line in lines if b'"target":"/models"' in line)
    plain = next(line for line in lines if b'"hi"' in line and b"mock-text" in line)
    (directory / "a.jsonl").write_bytes(models + plain[:50])
    world = start(env={"OPENAI_API_BASE": f"replay:{directory}"})
    assert ask(world.port, REQUESTS["models"]).status == 200
    missed = ask(world.port, REQUESTS["plain"])
    assert (missed.status, missed.header(b"x-should-retry")) == (404, b"false")
    (directory / "b.jsonl").write_bytes(b"no line\n" + plain)
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    assert raw(world.port, REQUESTS["plain"]) == recorded[1]["plain"]
    assert "b.jsonl:1 is no line of an exchange log" in world.daemon.log


def test_a_miss_goes_live_and_is_recorded(start, tmp_path):
    """Once; then the answer stays, also after a restart without the live upstream."""
    asked = []

    def script(call):
        asked.append(call.target)
        call.read_body()
        call.reply_json({"id": len(asked), "content": "live"})

    upstream = Upstream()
    upstream.script = script
    env = {"REPLAY__MISS": "record", "REPLAY__LIVE_URL": upstream.url, "OPENAI_API_KEY": "sk-live-0123456789"}
    world = start(upstream, directory=tmp_path, env={"OPENAI_API_BASE": "replay:cassettes", **env})
    first = raw(world.port, chat())
    assert first[0] == 200
    assert raw(world.port, chat()) == first
    assert raw(world.port, upload(1)) == raw(world.port, upload(2))
    assert len(asked) == 2
    text = b"".join(file.read_bytes() for file in (tmp_path / "cassettes").iterdir())
    assert b"sk-live" not in text
    world.daemon.stop()
    later = start(env={"OPENAI_API_BASE": f"replay:{tmp_path / 'cassettes'}"})
    assert raw(later.port, chat()) == first


def test_a_client_that_leaves_ends_its_replay(replaying):
    """No timer is left that would hold up the end."""
    world = replaying(REPLAY__TIMING="1000")
    with Client(world.port) as client:
        client.send(chat(STREAM))
    assert eventually(lambda: " client_gone " in world.daemon.log)
