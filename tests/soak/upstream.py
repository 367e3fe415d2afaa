"""The upstream of the endurance run: what it does is named by the request's model.

    python -m soak.upstream PORT

Prints its port. Knows every fault that an upstream can have on one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
LAST = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14}}\n\ndata: [DONE]\n\n'
DOCUMENT = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 20}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25},
    }
).encode()
EMBEDDING = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,0.5]}],"usage":{"prompt_tokens":2,"total_tokens":2}}'
HELD_EVENT_S = 2.0
"""Between two events of a stream of the crowd."""
HELD_EVENTS = 20

Writer = asyncio.StreamWriter


def _head(status: bytes, kind: bytes, framing: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nx-request-id: req_soak\r\n%b\r\n\r\n" % (
        status,
        kind,
        framing,
    )


def _whole(status: bytes, body: bytes, extra: bytes = b"") -> bytes:
    return _head(status, b"application/json", extra + b"Content-Length: %d" % len(body)) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_STREAM = _head(b"200 OK", b"text/event-stream", b"Transfer-Encoding: chunked")


async def _stream(writer: Writer, pause_s: float = 0.0, events: int = 20) -> None:
    writer.write(_STREAM)
    for _ in range(events):
        writer.write(_chunk(EVENT))
        await writer.drain()
        await asyncio.sleep(pause_s)
    writer.write(_chunk(LAST) + b"0\r\n\r\n")


async def _cut_in_stream(writer: Writer) -> None:
    writer.write(_STREAM + _chunk(EVENT))
    await writer.drain()
    writer.transport.abort()


async def _cut_before_head(writer: Writer) -> None:
    writer.transport.abort()


async def _end_too_early(writer: Writer) -> None:
    writer.write(_STREAM + _chunk(EVENT))
    writer.close()


async def _garbage(writer: Writer) -> None:
    writer.write(b"HTTP/9.9 what\r\n\x00\r\n\r\n")
    writer.close()


async def _never(writer: Writer) -> None:
    await asyncio.sleep(3600)


def _answer(data: bytes) -> Callable[[Writer], Awaitable[None]]:
    async def write(writer: Writer) -> None:
        writer.write(data)

    return write


_ERROR = b'{"error":{"message":"no","type":"server_error","code":null,"param":null}}'

WAYS: Mapping[str, Callable[[Writer], Awaitable[None]]] = MappingProxyType(
    {
        "plain": _answer(_whole(b"200 OK", DOCUMENT)),
        "embed": _answer(_whole(b"200 OK", EMBEDDING)),
        "large": _answer(_whole(b"200 OK", b'{"text":"' + b"x" * 1_000_000 + b'"}')),
        "stream": _stream,
        "held": lambda writer: _stream(writer, HELD_EVENT_S, HELD_EVENTS),
        "endless": lambda writer: _stream(writer, 0.05, 1_000_000),
        "500": _answer(_whole(b"500 Internal Server Error", _ERROR)),
        "429": _answer(_whole(b"429 Too Many Requests", _ERROR, b"Retry-After: 1\r\n")),
        "cut-in-stream": _cut_in_stream,
        "cut-before-head": _cut_before_head,
        "end-too-early": _end_too_early,
        "garbage": _garbage,
        "never": _never,
    }
)
"""What is done, by the model of the request."""


async def _tunnel(reader: asyncio.StreamReader, writer: Writer) -> None:
    """Take a WebSocket's handshake, then send back whatever comes."""
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _talk(reader: asyncio.StreamReader, writer: Writer) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"upgrade: websocket" in head:
            await _tunnel(reader, writer)
            return
        if b"transfer-encoding: chunked" in head:
            body = await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            body = await reader.readexactly(length)
        found = body.partition(b'"model"')[2].split(b'"', 2)
        model = found[1].decode() if len(found) > 1 else "plain"
        await WAYS.get(model, WAYS["plain"])(writer)
        await writer.drain()
        if writer.is_closing():
            return


async def _connected(reader: asyncio.StreamReader, writer: Writer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        await _talk(reader, writer)
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_connected, "127.0.0.1", 0, backlog=4096, limit=1 << 26)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
    sys.exit(0)
