"""What the openai Python SDK, langchain-openai and websockets see.

Run by sdk_smoke.py in its own environment, not by pytest:

    python sdk_checks.py python|langchain|websocket

The base URLs stand in AIMOCK_BASE, MOCK_AI_BASE and STEADY_BASE (each without
/v1, each optional); every check runs with and without /v1. One line per check.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import traceback
from collections.abc import Callable

import openai

HELLO = "Hello from the mock server, in several chunks: äöü €"
MESSAGES = [{"role": "user", "content": "hello"}]
ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}
Check = Callable[[str], None]


def client(base: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=base, api_key="sk-conformance", max_retries=0, timeout=20)


def async_client(base: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base, api_key="sk-conformance", max_retries=0, timeout=20)


def same(got: object, expected: object) -> None:
    if got != expected:
        raise AssertionError(f"expected {expected!r}, got {got!r}")


def chat_plain(base: str) -> None:
    answer = client(base).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    same(answer.choices[0].message.content, HELLO)


def chat_tool_call(base: str) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    answer = client(base).chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "weather"}], tools=[tool]
    )
    call = answer.choices[0].message.tool_calls[0].function
    same((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Bern"}))


def chat_streamed(base: str) -> None:
    chunks = list(
        client(base).chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    same("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), HELLO)
    same(chunks[-1].usage is not None, True)


def chat_async(base: str) -> None:
    async def both() -> tuple[str, str]:
        async with async_client(base) as api:
            plain, stream = await asyncio.gather(
                api.chat.completions.create(model="gpt-4o", messages=MESSAGES),
                api.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True),
            )
            parts = [c.choices[0].delta.content or "" async for c in stream if c.choices]
            return plain.choices[0].message.content, "".join(parts)

    same(asyncio.run(both()), (HELLO, HELLO))


def chat_raw_response(base: str) -> None:
    raw = client(base).chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    same(raw.status_code, 200)
    same(raw.headers["content-type"].startswith("application/json"), True)
    same(bool(raw.headers.get("x-request-id")), True)
    same(raw.parse().choices[0].message.content, HELLO)


def chat_abandoned_stream(base: str) -> None:
    api = client(base)
    with api.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True) as stream:
        next(iter(stream))
    same(api.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices[0].message.content, HELLO)


def embeddings(base: str) -> None:
    answer = client(base).embeddings.create(model="e", input="hello", encoding_format="float")
    same(answer.data[0].embedding, [0.25, -0.5, 0.125])


def models(base: str) -> None:
    same("gpt-4o" in [model.id for model in client(base).models.list()], True)


def responses_plain(base: str) -> None:
    same(client(base).responses.create(model="gpt-4o", input="hello").output_text, HELLO)


def responses_streamed(base: str) -> None:
    events = list(client(base).responses.create(model="gpt-4o", input="hello", stream=True))
    same("".join(e.delta for e in events if e.type == "response.output_text.delta"), HELLO)
    same(events[-1].type, "response.completed")


def files(base: str) -> None:
    content = b'{"custom_id":"1"}\n' * 5000 + bytes(range(256))
    api = client(base)
    made = api.files.create(file=("input.jsonl", io.BytesIO(content)), purpose="user_data")
    same(made.bytes, len(content))
    same(api.files.content(made.id).read(), content)
    same(api.files.retrieve(made.id).id, made.id)
    same(made.id in [one.id for one in api.files.list()], True)
    same(api.files.delete(made.id).deleted, True)


def speech(base: str) -> None:
    answer = client(base).audio.speech.create(model="tts-1", voice="alloy", input="say this")
    same(answer.read()[:4], b"\xff\xe3\x48\xc4")


def speech_streamed(base: str) -> None:
    with client(base).audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="say this"
    ) as answer:
        same(b"".join(answer.iter_bytes())[:4], b"\xff\xe3\x48\xc4")


def transcription(base: str) -> None:
    answer = client(base).audio.transcriptions.create(
        model="whisper-1", file=("a.wav", b"RIFF" + bytes(99000))
    )
    same(answer.text, "What was said.")


def images(base: str) -> None:
    same(client(base).images.generate(model="gpt-image-1", prompt="a cat").data[0].b64_json, "aGVsbG8=")


def moderations(base: str) -> None:
    same(client(base).moderations.create(input="hello").results[0].flagged, False)


def batches(base: str) -> None:
    api = client(base)
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
    line["body"] = {"model": "gpt-4o", "messages": MESSAGES}
    made = api.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = api.batches.create(
        input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    same(api.batches.retrieve(batch.id).id, batch.id)
    same(batch.id in [one.id for one in api.batches.list()], True)


def error_class(status: int) -> Check:
    def check(base: str) -> None:
        try:
            client(base).chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": f"status-{status}"}]
            )
        except openai.APIStatusError as error:
            same((error.status_code, type(error)), (status, ERRORS[status]))
        else:
            raise AssertionError("no error")

    return check


def mock_ai_chat(base: str) -> None:
    answer = client(base).chat.completions.create(model="gpt-4.1:mock-text", messages=MESSAGES)
    same(bool(answer.choices[0].message.content), True)


def mock_ai_tool_stream(base: str) -> None:
    chunks = list(
        client(base).chat.completions.create(model="gpt-4.1:mock-tool-stream", messages=MESSAGES, stream=True)
    )
    same(any(c.choices and c.choices[0].delta.tool_calls for c in chunks), True)


def mock_ai_error(status: int) -> Check:
    def check(base: str) -> None:
        try:
            client(base).chat.completions.create(model=f"gpt-4.1:mock-{status}", messages=MESSAGES)
        except openai.APIStatusError as error:
            same((error.status_code, type(error)), (status, ERRORS[status]))
        else:
            raise AssertionError("no error")

    return check


def completions(base: str) -> None:
    same(client(base).completions.create(model="m", prompt="hello").object, "text_completion")


def vector_stores(base: str) -> None:
    api = client(base)
    made = api.vector_stores.create(name="store", file_ids=["file-1"])
    same(made.object, "vector_store")
    same(api.vector_stores.retrieve(made.id).object, "vector_store")
    same(next(iter(api.vector_stores.search(made.id, query="hello"))).file_id is not None, True)
    api.vector_stores.files.create(made.id, file_id="file-1")
    same(api.vector_stores.delete(made.id).object, "vector_store.deleted")


def langchain_chat(base: str) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="gpt-4o", base_url=base, api_key="sk-conformance", max_retries=0)
    same(chat.invoke("hello").content, HELLO)


def langchain_streamed(base: str) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="gpt-4o", base_url=base, api_key="sk-conformance", max_retries=0)
    same("".join(chunk.content for chunk in chat.stream("hello")), HELLO)


def langchain_async(base: str) -> None:
    from langchain_openai import ChatOpenAI

    async def collect() -> str:
        chat = ChatOpenAI(model="gpt-4o", base_url=base, api_key="sk-conformance", max_retries=0)
        return "".join([chunk.content async for chunk in chat.astream("hello")])

    same(asyncio.run(collect()), HELLO)


def langchain_embeddings(base: str) -> None:
    from langchain_openai import OpenAIEmbeddings

    model = OpenAIEmbeddings(
        model="e", base_url=base, api_key="sk-conformance", check_embedding_ctx_length=False, max_retries=0
    )
    same(model.embed_query("hello"), [0.25, -0.5, 0.125])


def realtime_sdk(base: str) -> None:
    async def talk() -> str:
        async with async_client(base) as api, api.realtime.connect(model="gpt-realtime") as connection:
            same((await connection.recv()).type, "session.created")
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            )
            await connection.response.create()
            text = ""
            async for event in connection:
                if event.type in ("response.output_text.delta", "response.output_audio_transcript.delta"):
                    text += event.delta
                elif event.type in ("response.done", "error"):
                    return text or repr(event)
            return text

    same(asyncio.run(asyncio.wait_for(talk(), 20)), HELLO)


def realtime_websockets(base: str) -> None:
    import websockets

    async def talk() -> list[str]:
        url = base.replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
        protocols = ["realtime", "openai-insecure-api-key.sk-conformance"]
        async with websockets.connect(url, subprotocols=protocols) as connection:
            first = json.loads(await connection.recv())["type"]
            await connection.send(
                '{"type":"session.update","session":{"type":"realtime","instructions":"' + "x" * 70000 + '"}}'
            )
            second = json.loads(await connection.recv())["type"]
            await (await connection.ping())
            return [first, second]

    same(asyncio.run(asyncio.wait_for(talk(), 20)), ["session.created", "session.updated"])


def responses_websocket(base: str) -> None:
    import websockets

    async def talk() -> str:
        url = base.replace("http", "ws", 1) + "/responses"
        headers = {"Authorization": "Bearer sk-conformance"}
        async with websockets.connect(url, additional_headers=headers) as connection:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            await connection.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": [item]}))
            text = ""
            async for message in connection:
                event = json.loads(message)
                if event["type"] == "response.output_text.delta":
                    text += event["delta"]
                elif event["type"] in ("response.completed", "error"):
                    return text or message
            return text

    same(asyncio.run(asyncio.wait_for(talk(), 20)), HELLO)


SETS: dict[str, dict[str, list[Check]]] = {
    "python": {
        "AIMOCK_BASE": [
            chat_plain, chat_tool_call, chat_streamed, chat_async, chat_raw_response, chat_abandoned_stream,
            embeddings, models, responses_plain, responses_streamed, files, speech, speech_streamed,
            transcription, images, moderations, batches, *map(error_class, ERRORS),
        ],
        "MOCK_AI_BASE": [mock_ai_chat, mock_ai_tool_stream, *map(mock_ai_error, (400, 401, 429, 500))],
        "STEADY_BASE": [completions, vector_stores],
    },
    "langchain": {"AIMOCK_BASE": [langchain_chat, langchain_streamed, langchain_async, langchain_embeddings]},
    "websocket": {"AIMOCK_BASE": [realtime_sdk, realtime_websockets, responses_websocket]},
}  # fmt: skip


def main() -> int:
    failed = passed = 0
    for variable, checks in SETS[sys.argv[1]].items():
        base = os.environ.get(variable)
        if not base:
            print(f"SKIP {variable} is not set: {len(checks)} checks")
            continue
        for check in checks:
            for suffix in ("/v1", ""):
                if not suffix and os.environ.get("ONLY_V1"):
                    continue
                parts = check.__qualname__.split(".")
                label = f"{parts[0]} {check.__closure__[0].cell_contents}" if len(parts) > 1 else parts[0]
                label = f"{label} ({variable.removesuffix('_BASE').lower()}, base URL {'with' if suffix else 'without'} /v1)"
                try:
                    check(base + suffix)
                except Exception as error:
                    failed += 1
                    print(f"FAIL {label}: {type(error).__name__}: {str(error)[:400]}")
                    if os.environ.get("TRACEBACKS"):
                        traceback.print_exc()
                else:
                    passed += 1
                    print(f"PASS {label}")
    print(f"{sys.argv[1]}: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
