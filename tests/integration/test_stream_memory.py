"""What an open stream that says nothing takes of the daemon's memory."""

import asyncio
import contextlib
import resource

STREAMS = 1500
MOST_KIB = 12.0
"""9.5 when this was written, with Python 3.11; 20 before. The system's pages and Python's arenas give or take one."""
BODY = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
ASKED = b"".join(
    b"%b: %b\r\n" % line
    for line in (
        (b"Host", b"proxy"),
        (b"Accept", b"application/json"),
        (b"Accept-Encoding", b"gzip, deflate"),
        (b"Connection", b"keep-alive"),
        (b"Authorization", b"Bearer sk-test"),
        (b"User-Agent", b"OpenAI/Python 1.99.1"),
        *((b"X-Stainless-%d" % number, b"CPython 3.11 %d" % number) for number in range(8)),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % len(BODY)),
    )
)
ASK = b"POST /v1/chat/completions HTTP/1.1\r\n%b\r\n%b" % (ASKED, BODY)
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
    + b"".join(b"x-ratelimit-remaining-%d: %d000000\r\n" % (number, number) for number in range(18))
    + b"x-request-id: req_%d\r\n\r\n"
)


class Upstream:
    """Answers everything with a head like OpenAI's and one event, and then says nothing."""

    def __init__(self):
        self._asked = 0

    async def __call__(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(BODY))
                self._asked += 1
                writer.write(ANSWER % self._asked + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        writer.close()


async def opened(port, number):
    """Open so many streams, and wait for the event of each; return what keeps them open."""
    kept = []
    for _ in range(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        kept.append((reader, writer))
        await reader.readuntil(EVENT)
    return kept


async def left(kept):
    """The clients of these streams leave."""
    for _, writer in kept:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in kept), return_exceptions=True)


def test_an_idle_stream_takes_little_memory(start):
    """A thousand people who wait for a model that thinks cost ten megabytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * STREAMS), hard))

    async def measured():
        upstream = await asyncio.start_server(Upstream(), "127.0.0.1", 0)
        port = upstream.sockets[0].getsockname()[1]
        daemon = (await asyncio.to_thread(start, url=f"http://127.0.0.1:{port}/v1")).daemon
        await left(await opened(daemon.port, 50))
        before = daemon.resident_bytes()
        kept = await opened(daemon.port, STREAMS)
        grown = daemon.resident_bytes() - before
        await left(kept)
        upstream.close()
        return grown

    try:
        grown = asyncio.run(measured())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert grown / STREAMS / 1024 < MOST_KIB
