"""The mock upstream."""

from __future__ import annotations

import json

from adversarial.cases.registry import case, rep, text


def mocked(endpoint, method="POST", target=None):
    """Return a call that asks the mock upstream, and reads its answer to the end."""

    def call(answer, value):
        question = answer.__globals__["Question"]
        document = value if isinstance(value, dict) else None
        body = json.dumps(value).encode() if document is not None else value
        made = question(
            method,
            endpoint,
            target or b"/" + endpoint.encode(),
            body,
            document,
            content_types=(b"multipart/form-data; boundary=b",),
        )
        reply = answer(made)
        return reply.pieces if reply.pieces is not None else reply.data

    return call


FORMS = [
    rep(b"--b\r\n\r\n\r\n", b"", b"--b--"),
    rep(b"\r\n--b", b"", b"--"),
    rep(b"a", b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', b"\r\n--b--"),
    rep(b'; name="a"', b"--b\r\nContent-Disposition: form-data", b"\r\n\r\nx\r\n--b--"),
    rep(b';name="', b"--b\r\nContent-Disposition: form-data", b"\r\n\r\nx\r\n--b--"),
    rep(b"; \t", b"--b\r\nContent-Disposition: form-data", b"\r\n\r\nx\r\n--b--"),
]
case("upstream.mock.form:parse_form", *FORMS, call=lambda f, body: f(body, b"b"))
case("upstream.mock.answers:answer", *FORMS, call=mocked("files"))
case(
    "upstream.mock.answers:answer",
    text(b"a=b&"),
    text(b"&"),
    text(b"%25"),
    call=lambda f, query: mocked("files", "GET", b"/files?" + query)(f, b""),
)
for members in ({}, {"stream": True}, {"n": 3}):
    case(
        "upstream.mock.answers:answer",
        lambda n, members=members: {
            "model": "mock-echo",
            "messages": [{"role": "user", "content": "a " * (n // 2)}],
            **members,
        },
        lambda n, members=members: {
            "model": "m",
            "messages": [{"role": "user", "content": "x"}] * (n // 30),
            **members,
        },
        lambda n, members=members: {
            "model": "m",
            "messages": [{"content": [{"text": "x"}] * (n // 12)}],
            **members,
        },
        lambda n, members=members: {
            "model": "mock-tools",
            "messages": [{}],
            "tools": [{"type": "function", "function": {"name": "x"}}] * (n // 50),
            **members,
        },
        call=mocked("chat/completions"),
    )
case(
    "upstream.mock.answers:answer",
    lambda n: {"model": "m", "input": [{"role": "user", "content": "x"}] * (n // 30), "stream": True},
    lambda n: {"model": "mock-echo", "input": "a " * (n // 2), "stream": True},
    call=mocked("responses"),
)
case(
    "upstream.mock.answers:answer",
    lambda n: {"model": "m", "input": ["a"] * (n // 16), "dimensions": 4},
    lambda n: {"model": "m", "input": [1] * (n // 2), "dimensions": 4},
    call=mocked("embeddings"),
)
case("upstream.mock.answers:answer", lambda n: {"input": ["a"] * (n // 16)}, call=mocked("moderations"))
case(
    "upstream.mock.answers:answer",
    lambda n: {"model": "m", "prompt": ["a"] * (n // 16)},
    call=mocked("completions"),
)
case(
    "upstream.mock.answers:answer",
    lambda n: {"model": "m", "voice": "v", "input": "a" * n},
    lambda n: {"model": "m", "voice": "v", "input": "a" * n, "stream_format": "sse"},
    call=mocked("audio/speech"),
)
SCHEMAS = [
    lambda n: {"properties": {f"k{i}": {"$ref": "#/properties/k0"} for i in range(n // 40)}},
    lambda n: {"anyOf": [{"type": "null"}] * (n // 16)},
    lambda n: {"enum": ["a"] * (n // 4)},
    lambda n: {"allOf": [{"properties": {f"k{i}": {}}} for i in range(n // 30)]},
    lambda n: {"type": "array", "minItems": n, "items": {"type": "string", "minLength": 100}},
    lambda n: {"type": "object", "properties": {"a": {"$ref": "#" + "/properties/a" * (n // 14)}}},
]
case("upstream.mock.schema:sample", *SCHEMAS, call=lambda f, schema: f(schema, b"seed"))
case("upstream.mock.words:pieces_of", text("a"), text(" "), text("a "), text("a" * 20 + " " * 20))
case("upstream.mock.words:cut", text("a"), text("\u20ac"), call=lambda f, value: f(value, len(value)))
case("upstream.mock.words:tokens_in", text("a"), text("\u20ac"))
case("upstream.mock.words:digest_of", text(b"a"))
