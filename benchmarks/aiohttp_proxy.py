"""An aiohttp pass-through proxy, as good as aiohttp makes it.

What the benchmarks compare with: one shared session without a limit of
connections, no decompression, no cookies, no access log, bodies relayed as they
come, the length kept if the upstream gave one. It checks and records nothing.

    python aiohttp_proxy.py PORT UPSTREAM_ORIGIN [CA.pem]

uvloop is its event loop.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

HOP_BY_HOP = frozenset(
    [
        "connection",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


def end_to_end(headers) -> list[tuple[str, str]]:
    """Leave out the headers that belong to one connection."""
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


class Relay:
    """Answers every request with the upstream's answer."""

    def __init__(self, session: ClientSession, origin: str) -> None:
        self.session = session
        self.origin = origin

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        url = URL(self.origin + request.raw_path, encoded=True)
        sent_length = request.content_length or 0
        body = request.content if sent_length > 65536 or sent_length == 0 else await request.read()
        async with self.session.request(
            request.method,
            url,
            headers=end_to_end(request.headers),
            data=body if request.body_exists else None,
            allow_redirects=False,
        ) as upstream:
            headers = end_to_end(upstream.headers)
            if upstream.content_length is not None and upstream.content_length <= 65536:
                return web.Response(status=upstream.status, headers=headers, body=await upstream.read())
            response = web.StreamResponse(status=upstream.status, headers=headers)
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


async def serve(port: int, origin: str, ca_file: str | None = None) -> None:
    """Listen on 127.0.0.1 until the process is ended; `ca_file` has the authority that verifies a TLS upstream."""
    client_tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    session = ClientSession(
        connector=TCPConnector(limit=0, ssl=client_tls or True, keepalive_timeout=75),
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )
    runner = web.ServerRunner(web.Server(Relay(session, origin), access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *sys.argv[2:4]))
