"""Secrets that can be distinguished, and requests that carry them everywhere a stranger can write.

A canary is sent where nothing may be recorded: it must never turn up. A
word stands in a body: it may turn up only if bodies are recorded.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from world.requests import request

CANARY = re.compile(rb"CANARY\d\d\d\d")
WORD = re.compile(rb"BODYWORD\d\d\d\d")
HIDDEN = [
    base64.b64encode(b"x" * shift + b"CANARY")[-(-shift * 8 // 6) : (shift + 6) * 8 // 6]
    for shift in range(3)
]
"""The letters of a canary in base64, whatever stands before them."""

_SHAPES = [
    "sk-{}abcdefghijkl",
    "sk-proj-{}_abcdefghijkl",
    "Bearer {}opaque",
    "gsk_{}abcdefghijklmnop",
    "xai-{}abcdefghijklmnop",
    "hf_{}abcdefghijklmnop",
    "ghp_{}abcdefghijklmnop",
    "AIzaSy{}abcdefghijklmnop",
    "AKIA{}ABCDEF",
    "eyJhbGciOi{}.eyJzdWIi{}.sig{}natures",
    "pplx-{}abcdefghijklmnop",
    "sess-{}abcdefghijkl",
    "api_key={}opaque",
    "token={}opaque",
]
"""How keys look: they are known by that wherever they stand."""

OPAQUE_HEADERS = [
    "authorization",
    "proxy-authorization",
    "api-key",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "cookie",
    "x-csrf-token",
    "x-session-id",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-amz-date",
    "ocp-apim-subscription-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "forwarded",
    "referer",
    "origin",
    "from",
    "x-user-id",
    "x-tenant",
    "x-custom",
    "x-custom-header",
    "x-correlation-id",
    "x-client-data",
    "x-request-signature",
    "x-hub-signature",
    "helicone-auth",
    "cf-access-client-secret",
    "x-vercel-secret",
    "x-portkey-config",
    "x-litellm-key",
    "openai-safety-identifier",
    "idempotency-key",
    "if-match",
    "sec-fetch-site",
    "dnt",
    "priority",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "baggage",
    "b3",
    "x-datadog-trace-id",
    "sentry-trace",
    "x-anything",
    "signature",
    "signature-input",
    "digest",
    "want-digest",
    "link",
    "prefer",
    "x-stainless-custom",
    "x-stainless-helper-token",
    "tracestate",
]
"""Request headers of which no value is shown, whatever it looks like."""

SHOWN_HEADERS = [
    "user-agent",
    "accept",
    "accept-language",
    "content-language",
    "openai-organization",
    "openai-project",
    "openai-beta",
    "via",
    "range",
    "pragma",
    "cache-control",
    "x-request-id",
    "x-stainless-os",
    "x-stainless-lang",
    "if-none-match",
    "x-stainless-runtime-version",
]
"""Request headers whose values are shown, but for what looks like a key."""


class Canaries:
    """Gives out canaries, each once."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._shapes = itertools.cycle(_SHAPES)
        self.count = 0

    def opaque(self) -> str:
        """A secret that looks like nothing."""
        self.count += 1
        return f"q7CANARY{next(self._numbers):04d}x"

    def key(self) -> str:
        """A secret that looks like one."""
        self.count += 1
        return next(self._shapes).replace("{}", f"CANARY{next(self._numbers):04d}")

    def plain_key(self) -> str:
        """A secret that looks like one and is a single word that fits anywhere."""
        self.count += 1
        return f"sk-CANARY{next(self._numbers):04d}abcdefgh"

    def word(self) -> str:
        return f"BODYWORD{next(self._numbers):04d}"


def _headers(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1")


def bodies_with_credentials(canaries: Canaries) -> list[tuple[str, dict[str, object], dict[str, object]]]:
    """Return (target, request, answer) of endpoints whose bodies carry credentials, a word in each prompt."""
    short = f"ek_CANARY{next(canaries._numbers):04d}abcdefgh"
    tool = {
        "type": "mcp",
        "server_label": "s",
        "server_url": f"https://mcp.example/sse?api_key={canaries.opaque()}",
        "authorization": canaries.opaque(),
        "headers": {"Authorization": f"Bearer {canaries.opaque()}", "X-Own": canaries.opaque()},
    }
    asked: dict[str, object] = {"model": "gpt-5", "input": canaries.word(), "tools": [tool]}
    response: dict[str, object] = {"id": "resp_1", "object": "response", "output": [], "tools": [tool]}
    service = {"id": "svc", "api_key": {"object": "x", "value": f"sk-svcacct-{canaries.plain_key()[3:]}"}}
    session = {"type": "realtime", "client_secret": {"value": canaries.opaque()}, "tools": [tool]}
    return [
        ("/v1/responses", asked, response),
        ("/v1/responses", {**asked, "stream": True}, {"type": "response.completed", "response": response}),
        ("/v1/realtime/client_secrets", {"session": session}, {"value": short, "session": session}),
        ("/v1/realtime/sessions", {"tools": [tool]}, {"client_secret": {"value": canaries.opaque()}}),
        ("/v1/chatkit/sessions", {"user": canaries.word()}, {"client_secret": canaries.opaque()}),
        ("/v1/organization/projects/p/service_accounts", {"name": "x"}, service),
        ("/v1/organization/admin_api_keys", {"name": "x"}, {"value": f"sk-admin-{canaries.plain_key()[3:]}"}),
        ("/v1/chat/completions", {"model": canaries.plain_key(), "messages": []}, {"error": {}}),
    ]


def _unauthorised(raw: bytes) -> bytes:
    """Return a request of `world.requests` without its credentials."""
    return re.sub(rb"Authorization: [^\r]*\r\n", b"", raw, count=1)


def strangers_requests(canaries: Canaries, credential: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (what, bytes); `credential` is the header line that this daemon accepts."""
    json_type = b"Content-Type: application/json\r\n"

    def chat(headers: bytes = b"", query: str = "", **members: object) -> bytes:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": canaries.word()}], **members}
        target = b"/v1/chat/completions" + query.encode()
        return _unauthorised(request(b"POST", target, json.dumps(body).encode(), json_type + headers))

    def get(target: str, headers: bytes = b"", method: bytes = b"GET") -> bytes:
        return _unauthorised(request(method, target.encode("latin-1"), headers=headers))

    # headers, all at once, then each shape of a key in those that are shown
    opaque = [(name, canaries.opaque()) for name in OPAQUE_HEADERS if name != "authorization"]
    yield "opaque headers", chat(credential + _headers(opaque))
    yield "a wrong key", chat(f"Authorization: Bearer {canaries.opaque()}\r\n".encode())
    basic = base64.b64encode(f"user:{canaries.opaque()}".encode()).decode()
    yield "basic credentials", chat(f"Authorization: Basic {basic}\r\n".encode())
    for _ in range(4):
        shown = [(name, canaries.key()) for name in SHOWN_HEADERS]
        yield "shown headers", chat(credential + _headers(shown))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for state in (f"v={canaries.plain_key()}", f"token={canaries.opaque()}"):
        yield "trace state", chat(credential + _headers([("traceparent", parent), ("tracestate", state)]))
    yield "a trace parent", chat(credential + _headers([("traceparent", f"00-{canaries.opaque()}-01")]))
    yield "a header's name", chat(credential + f"x-{canaries.plain_key()}: 1\r\n".encode())
    yield "a content type", get("/v1/files", credential + _headers([("content-type", canaries.key())]))
    # the target
    names = ("api_key", "key", "token", "sig", "code", "x", "prompt", "callback")
    query = "&".join(f"{name}={canaries.opaque()}" for name in names)
    yield "a query", chat(credential, "?" + query)
    yield "a query to a page", get("/metrics?" + query, credential)
    for target in (
        "/v1/files/{}",
        "/v1/files/{}/content",
        "/v1/{}/x",
        "/{}",
        "/v1/models/ft:{}:org",
        "/health/{}",
    ):
        yield "a path", get(target.format(canaries.plain_key()), credential)
    yield "an encoded path", get("/v1/files/%73k-" + canaries.opaque() + "abcdefgh", credential)
    yield (
        "parameters of a path",
        get(f"/v1/files;key={canaries.opaque()};token={canaries.opaque()}", credential),
    )
    yield "a fragment", get(f"/v1/models#token={canaries.opaque()}", credential)
    yield "dots", get(f"/v1/../{canaries.plain_key()}", credential)
    yield (
        "another origin",
        get(f"http://user:{canaries.opaque()}@elsewhere/v1/models?x={canaries.opaque()}", credential),
    )
    yield "userinfo", get(f"http://{canaries.opaque()}@proxy/v1/models", credential)
    yield "a method", get("/v1/models", credential, canaries.plain_key().upper().encode())
    yield "a long target", get("/v1/files/" + canaries.plain_key() * 2000, credential)
    yield "a large header", get("/v1/models", credential + _headers([("x-large", canaries.opaque() * 8000)]))
    # bodies
    yield "a model", chat(credential, model=f"sk-{canaries.word()}abcdefgh")
    yield "members", chat(credential, user=canaries.word(), metadata={canaries.word(): canaries.word()})
    yield (
        "no JSON",
        _unauthorised(
            request(
                b"POST", b"/v1/chat/completions", f'{{"{canaries.word()}": '.encode(), json_type + credential
            )
        ),
    )
    yield (
        "a missing member",
        _unauthorised(
            request(
                b"POST",
                b"/v1/embeddings",
                f'{{"input": "{canaries.word()}"}}'.encode(),
                json_type + credential,
            )
        ),
    )
    part = (
        f'--b\r\nContent-Disposition: form-data; name="{canaries.word()}"; filename="{canaries.word()}"\r\n\r\n'
        f"{canaries.word()}\r\n--b--\r\n"
    ).encode()
    multipart = b"Content-Type: multipart/form-data; boundary=b\r\n" + credential
    yield "multipart", _unauthorised(request(b"POST", b"/v1/files", part, multipart))
    trailer = (
        b"POST /v1/files HTTP/1.1\r\nHost: proxy\r\nTransfer-Encoding: chunked\r\n%b\r\n1\r\nx\r\n0\r\nx-trailer: %b\r\n\r\n"
        % (credential, canaries.opaque().encode())
    )
    yield (
        "a trailer and an extension",
        trailer.replace(b"1\r\nx", b"1;e=%b\r\nx" % canaries.opaque().encode()),
    )
    for path, document, _ in bodies_with_credentials(canaries):
        data = json.dumps(document).encode()
        yield "credentials", _unauthorised(request(b"POST", path.encode(), data, json_type + credential))
    # what is no HTTP
    yield "a version", f"GET /v1/models {canaries.opaque()}/1.1\r\nHost: a\r\n\r\n".encode()
    yield "a line", f"{canaries.opaque()}\r\n\r\n".encode()
    yield "a bad header", f"GET /v1/models HTTP/1.1\r\nHost: a\r\n{canaries.opaque()}\r\n\r\n".encode()
    yield "a bad host", f"GET /v1/models HTTP/1.1\r\nHost: a b {canaries.opaque()}\r\n\r\n".encode()
    yield (
        "a bad length",
        f"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: {canaries.opaque()}\r\n\r\n".encode(),
    )
    yield (
        "a folded line",
        f"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: y\r\n {canaries.opaque()}\r\n\r\n".encode(),
    )
    # a tunnel
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    for protocol in (f"realtime, openai-insecure-api-key.{canaries.opaque()}", canaries.opaque()):
        lines = upgrade + f"Sec-WebSocket-Protocol: {protocol}\r\n".encode()
        yield "a subprotocol", get(f"/v1/realtime?model=m&key={canaries.opaque()}", lines)
        yield "a tunnel", get(f"/v1/realtime?model=m&key={canaries.opaque()}", lines + credential)


RESPONSE_OPAQUE = [
    "set-cookie",
    "www-authenticate",
    "location",
    "x-amz-meta-token",
    "x-internal-host",
    "x-debug",
    "x-powered-by",
    "authentication-info",
    "proxy-authenticate",
    "x-served-by",
    "link",
    "refresh",
    "x-session",
    "x-anything",
    "content-location",
]
RESPONSE_SHOWN = [
    "server",
    "x-request-id",
    "openai-organization",
    "openai-version",
    "etag",
    "via",
    "content-disposition",
    "content-language",
    "x-ratelimit-limit-requests",
    "cf-ray",
    "retry-after",
]


def upstreams_head(canaries: Canaries, status: str) -> bytes:
    """Return a response's head with canaries in every header and in the reason."""
    pairs = [(name, canaries.opaque()) for name in RESPONSE_OPAQUE]
    pairs += [(name, canaries.key()) for name in RESPONSE_SHOWN]
    early = f"HTTP/1.1 103 Early Hints\r\nlink: <{canaries.opaque()}>\r\n\r\n"
    return f"{early}HTTP/1.1 {status} {canaries.opaque()}\r\n".encode() + _headers(pairs)


def found(pattern: re.Pattern[bytes], text: bytes) -> list[bytes]:
    """Return the surroundings of each match."""
    return [text[max(0, match.start() - 80) : match.end() + 20] for match in pattern.finditer(text)][:5]


def everything_under(directory: Path) -> bytes:
    """Return the names and contents of all files below a directory."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return b"\n".join(str(path.name).encode() + b"\n" + path.read_bytes() for path in files)
