"""The clients of the endurance run: each kind does one thing over and over until the time is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from attrs import Factory, define

PATIENCE_S = 60.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@define
class Account:
    """What the clients did: how many requests they sent whole, and what they saw of the answers."""

    sent: Counter[str] = Factory(Counter)
    """By kind of client."""
    answered: Counter[str] = Factory(Counter)
    """Answers whose head was read."""
    wrong: list[str] = Factory(list)
    """What was not as it must be; at most a few."""

    def complain(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)


@define
class Address:
    """The addresses of the daemon."""

    port: int
    tls_port: int
    tls: ssl.SSLContext

    async def connect(self, secure: bool = False) -> Streams:
        context = self.tls if secure else None
        return await asyncio.open_connection(
            "127.0.0.1", self.tls_port if secure else self.port, ssl=context, limit=1 << 26
        )


def post(body: bytes, path: str = "chat/completions", extra: bytes = b"") -> bytes:
    """Return a request with a `traceparent` of its own."""
    trace = b"00-%032x-%016x-01" % (random.getrandbits(128), random.getrandbits(64))
    return (
        b"POST /v1/%b HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-soak-%d\r\n"
        b"Content-Type: application/json\r\ntraceparent: %b\r\n%bContent-Length: %d\r\n\r\n%b"
        % (path.encode(), random.randrange(4), trace, extra, len(body), body)
    )


def chat(model: str, **members: object) -> bytes:
    text = "word " * random.randrange(4000)
    document = {"model": model, "messages": [{"role": "user", "content": text}], **members}
    return post(json.dumps(document).encode())


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body; IncompleteReadError if it breaks off."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return status, body
    length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    return status, await reader.readexactly(length)


class Clients:
    """All kinds; `run` keeps some of each busy until `until` (seconds of the loop's clock)."""

    def __init__(self, address: Address, account: Account) -> None:
        self._address = address
        self._account = account
        self.until = 0.0
        self.kinds: dict[str, Callable[[str], Awaitable[None]]] = {
            "plain": self._plain,
            "tls": lambda kind: self._plain(kind, secure=True),
            "hits": lambda kind: self._plain(kind, raw=_EMBED),
            "streams": lambda kind: self._plain(kind, model="stream"),
            "uploads": self._slow_upload,
            "large": lambda kind: self._plain(kind, model="large"),
            "stalled": self._stalled,
            "leaves": self.leaves,
            "leaves waiting": lambda kind: self.leaves(kind, model="never", reads=False),
            "sockets": self._web_socket,
            "errors": self._errors,
            "nonsense": self._nonsense,
        }

    async def run(self, each: int) -> None:
        tasks = [
            asyncio.create_task(self._again(kind, visit))
            for kind, visit in self.kinds.items()
            for _ in range(each)
        ]
        await asyncio.gather(*tasks)

    async def _again(self, kind: str, visit: Callable[[str], Awaitable[None]]) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < self.until:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await visit(kind)
            except (OSError, asyncio.IncompleteReadError):
                pass  # a reload, a worker that died, an upstream's fault
            except TimeoutError:
                self._account.complain(f"{kind}: nothing for {PATIENCE_S:g} s")
            await asyncio.sleep(random.random() * 0.05)

    async def _ask(self, kind: str, streams: Streams, raw: bytes) -> tuple[int, bytes]:
        reader, writer = streams
        writer.write(raw)
        self._account.sent[kind] += 1
        await writer.drain()
        answer = await read_answer(reader)
        self._account.answered[kind] += 1
        return answer

    async def _plain(
        self, kind: str, model: str = "plain", secure: bool = False, raw: bytes | None = None
    ) -> None:
        streams = await self._address.connect(secure)
        with contextlib.closing(streams[1]):
            for _ in range(random.randrange(1, 30)):
                status, body = await self._ask(
                    kind, streams, raw or chat(model, **({"stream": True} if model == "stream" else {}))
                )
                if status == 200 and model == "stream" and not body.endswith(b"data: [DONE]\n\n"):
                    self._account.complain(f"{kind}: a stream without its end")

    async def _slow_upload(self, kind: str) -> None:
        """Send a form of some 100 KB in pieces."""
        streams = await self._address.connect()
        reader, writer = streams
        with contextlib.closing(writer):
            parts = b"".join(
                b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n%b\r\n' % (n, b"x" * 5000)
                for n in range(20)
            )
            body = (
                b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
                + parts
                + b"--b--\r\n"
            )
            writer.write(
                b"POST /v1/files HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-soak-1\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            for at in range(0, len(body), 8192):
                writer.write(body[at : at + 8192])
                await writer.drain()
                await asyncio.sleep(0.02)
            self._account.sent[kind] += 1
            await read_answer(reader)
            self._account.answered[kind] += 1

    async def _stalled(self, kind: str) -> None:
        """Ask for much, read nothing for a while, then go."""
        _, writer = await self._address.connect()
        for _ in range(4):
            writer.write(chat("large"))
        self._account.sent[kind] += 4  # those after the first may never be read
        await writer.drain()
        await asyncio.sleep(2.0)
        writer.transport.abort()

    async def leaves(
        self, kind: str, model: str = "endless", reads: bool = True, secure: bool | None = None
    ) -> None:
        reader, writer = await self._address.connect(
            secure=random.random() < 0.5 if secure is None else secure
        )
        writer.write(chat(model, stream=True))
        self._account.sent[kind] += 1
        await writer.drain()
        if reads:
            await reader.readuntil(b"word ")
            self._account.answered[kind] += 1
        else:
            await asyncio.sleep(0.3)
        writer.transport.abort()

    async def _web_socket(self, kind: str) -> None:
        reader, writer = await self._address.connect()
        with contextlib.closing(writer):
            writer.write(
                b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-soak-1\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            self._account.sent[kind] += 1
            head = await reader.readuntil(b"\r\n\r\n")
            self._account.answered[kind] += 1
            if head[9:12] == b"101":
                for _ in range(20):
                    frame = b"\x82\xfe\x03\xe8\x00\x00\x00\x00" + random.randbytes(1000)
                    writer.write(frame)
                    if await reader.readexactly(len(frame)) != frame:
                        self._account.complain(f"{kind}: other bytes came back")

    async def _errors(self, kind: str) -> None:
        for model in ("500", "429", "cut-in-stream", "cut-before-head", "end-too-early", "garbage"):
            streams = await self._address.connect()
            with contextlib.closing(streams[1]), contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._ask(
                    kind, streams, chat(model, stream=model in ("cut-in-stream", "end-too-early"))
                )

    async def _nonsense(self, kind: str) -> None:
        """Ask what is refused before it is an exchange of the API, or is one."""
        for raw in (
            b"NONSENSE\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            post(b"{"),
            b"GET / HTTP/1.1\r\n",
        ):
            reader, writer = await self._address.connect()
            with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError):
                writer.write(raw)
                self._account.sent[kind] += 1
                async with asyncio.timeout(0.5):
                    await reader.read(65536)


_EMBED = post(b'{"model":"embed","input":"the same every time"}', "embeddings")


async def crowd(address: Address, account: Account, idle: int, streams: int) -> int:
    """Hold `idle` silent connections and `streams` open streams to the end of these; returns the whole ones."""
    silent: list[Streams] = []
    gate = asyncio.Semaphore(200)

    async def stream() -> bool:
        async with gate:
            reader, writer = await address.connect()
        with contextlib.closing(writer):
            writer.write(chat("held", stream=True))
            account.sent["crowd"] += 1
            _, body = await read_answer(reader)
            account.answered["crowd"] += 1
            return body.endswith(b"data: [DONE]\n\n")

    async def sit() -> None:
        async with gate:
            silent.append(await address.connect())

    await asyncio.gather(*(sit() for _ in range(idle)))
    whole = await asyncio.gather(*(stream() for _ in range(streams)))
    for _, writer in silent:
        writer.close()
    return sum(whole)
