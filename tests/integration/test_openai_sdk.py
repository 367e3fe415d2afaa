"""The openai library, unmodified but for its base URL, through the daemon."""

import asyncio
import json

import pytest
from world.waiting import eventually

openai = pytest.importorskip("openai", reason="pip install openai")

MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "hi"}]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": MODEL,
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
WORDS = ["", "hel", "lo ", "you", "\u00fc\U0001f600"]
AUDIO = bytes(range(256)) * 512


def chunk(word):
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    return {**ANSWER, "object": "chat.completion.chunk", "choices": [choice], "usage": None}


class Api:
    """As much of the API as these tests ask for."""

    def __init__(self):
        self.attempts = 0

    def __call__(self, call):
        body = call.read_body()
        path = call.target.partition(b"?")[0].removeprefix(b"/v1/").decode()
        getattr(self, "do_" + path.replace("/", "_"))(call, body)

    def do_chat_completions(self, call, body):
        document = json.loads(body)
        assert call.header(b"authorization") == b"Bearer sk-test"
        status = document["messages"][0]["content"].partition(" ")[2]
        if document["model"] == "fails":
            self.attempts += 1
            error = {"message": "no", "type": "some_error", "param": "p", "code": "some_code"}
            call.reply_json({"error": error}, f"{status} Reason".encode())
        elif document.get("stream"):
            call.start_stream()
            for word in WORDS:
                call.chunk(f"data: {json.dumps(chunk(word))}\n\n".encode())
            call.chunk(b"data: [DONE]\n\n")
            call.end_stream()
        else:
            call.reply(
                json.dumps(ANSWER).encode(),
                [(b"Content-Type", b"application/json"), (b"x-request-id", b"req_1")],
            )

    def do_models(self, call, body):
        call.reply_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_embeddings(self, call, body):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
        call.reply_json({"object": "list", "data": data, "model": "m", "usage": {}})

    def do_audio_speech(self, call, body):
        call.reply(AUDIO, [(b"Content-Type", b"audio/mpeg")])

    def do_audio_transcriptions(self, call, body):
        assert call.header(b"content-type").startswith(b"multipart/form-data")
        assert AUDIO in body
        call.reply_json({"text": "heard"})

    def do_files(self, call, body):
        document = {"id": "file-1", "object": "file", "bytes": len(body), "filename": "f", "purpose": "batch"}
        call.reply_json(document)


@pytest.fixture
def api(world):
    """Answer as the API does."""
    api = Api()
    world.upstream.begin(api)
    return api


@pytest.fixture(params=["", "/v1"], ids=["without v1", "with v1"])
def base_url(world, request):
    """Both ways in which people write the base URL."""
    return f"http://127.0.0.1:{world.port}{request.param}"


@pytest.fixture
def client(api, base_url):
    """Make the synchronous client."""
    with openai.OpenAI(base_url=base_url, api_key="sk-test") as client:
        yield client


def test_chat(client):
    """The plain call."""
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content == "hello"
    assert answer.usage.total_tokens == 3
    assert answer._request_id == "req_1"


def test_streamed_chat(client):
    """Every delta, in order, in every alphabet."""
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    assert [event.choices[0].delta.content for event in stream] == WORDS


def test_raw_response(client):
    """Headers and bytes are the upstream's."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    assert raw.headers["x-request-id"] == "req_1"
    assert json.loads(raw.content) == ANSWER
    assert raw.parse().id == "chatcmpl-1"


def test_async_client(api, base_url):
    """Twenty calls at once, plain and streamed."""

    async def ask(client, number):
        if number % 2:
            answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
            return answer.choices[0].message.content
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        return "".join([event.choices[0].delta.content async for event in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-test") as client:
            return await asyncio.gather(*(ask(client, number) for number in range(20)))

    assert asyncio.run(all_of_them()) == ["".join(WORDS), "hello"] * 10


def test_other_endpoints(client):
    """Models, embeddings, speech, transcription, upload."""
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.embeddings.create(model="m", input="x", encoding_format="float").data[0].embedding == [
        0.5,
        -1,
    ]
    assert client.audio.speech.create(model="tts-1", voice="alloy", input="x").content == AUDIO
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", AUDIO))
    assert heard.text == "heard"
    assert client.files.create(file=("f", AUDIO), purpose="batch").bytes > len(AUDIO)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_errors_of_the_upstream_keep_their_class(client, api, status, error):
    """The library raises what it would have raised without the daemon."""
    messages = [{"role": "user", "content": f"status {status}"}]
    with pytest.raises(error) as raised:
        client.with_options(max_retries=0).chat.completions.create(model="fails", messages=messages)
    assert (raised.value.status_code, raised.value.code, raised.value.param) == (status, "some_code", "p")
    assert api.attempts == 1


def test_errors_of_ours_have_their_class(client):
    """What the daemon refuses looks as if the API had refused it."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", body={"model": MODEL}, cast_to=object)
    assert (refused.value.code, refused.value.param) == ("missing_required_parameter", "messages")
    elsewhere = client.with_options(
        base_url=str(client.base_url).partition("/v1")[0].rstrip("/") + "/nothing"
    )
    with pytest.raises(openai.NotFoundError) as missing:
        elsewhere.models.list()
    assert missing.value.code == "unknown_url"


def test_stream_that_the_caller_leaves(client, world):
    """Closing a stream early withdraws the question."""
    gone = []

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(f"data: {json.dumps(chunk('x'))}\n\n".encode())
        gone.append(call.seconds_until_gone())
        call.finish()

    world.upstream.begin(script)
    with client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
        assert next(iter(stream)).choices[0].delta.content == "x"
    client.close()
    assert eventually(lambda: gone)
    assert gone[0] is not None
