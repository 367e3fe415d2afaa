"""What is written about strangers: lines of logs, and conversations made of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

from adversarial.cases.heads import HEADERS
from adversarial.cases.registry import DOCUMENTS, JSONS, KEYS, STREAMS, case, fed, rep, text
from adversarial.cases.streams import MEMBERS
from adversarial.meter import metered

for name in ("scrubbed", "scrubbed_once"):
    case(f"observe.redaction:{name}", *KEYS)
case("observe.exchange_log.credentials:looks_like_a_key", *KEYS, text("a1"), text("1"))
case(
    "observe.exchange_log.shown_headers:shown_headers",
    *HEADERS,
    *[lambda n, key=key: [(b"user-agent", key(n).encode())] for key in KEYS],
    *[lambda n, key=key: [(key(n).encode(), b"v")] for key in KEYS],
)
case("observe.exchange_log.credentials:credentials", *HEADERS)
for name in ("bare_path", "shown"):
    case(
        f"observe.lines.record:{name}",
        *KEYS,
        text("/"),
        text("?"),
        text("#"),
        text("://"),
        text("\n"),
        text("\ud800"),
    )
LEAKS = [
    *DOCUMENTS,
    lambda n: {"tools": [{"type": "mcp", "headers": {"a": "b"}, "server_url": "https://a/b?c"}] * (n // 60)},
    *[
        lambda n, key=key: {"x": key(n), "server_url": key(n), "a_url": "https://" + key(n), key(n): 1}
        for key in KEYS
    ],
]
for name in ("shown_text", "shown_text_once", "shown_server"):
    case(f"observe.exchange_log.body_strings:{name}", *KEYS, text("a1"), text("://"), text("/"), text("@"))
case("observe.exchange_log.member_names:is_secret", *KEYS, text("_"))
case("observe.exchange_log.secret_members:without_credentials", *LEAKS)
case("observe.exchange_log.secret_members:is_laborious", *JSONS)
case(
    "observe.exchange_log.secret_members:shows_no_credentials",
    *LEAKS,
    call=lambda f, v: f(v, json.dumps(v).encode()),
)
case(
    "observe.exchange_log.torn_members:torn_without_credentials",
    *JSONS,
    *[lambda n, make=make: json.dumps(make(n)).encode()[:-9] for make in LEAKS],
    rep(b'"'),
    rep(b'"headers":{', b"{"),
    rep(b'"api_key":['),
    rep(b'"password":"'),
)
case(
    "observe.exchange_log.credentials:without_texts",
    *LEAKS,
    call=lambda f, v: f(v, ["secret-1", "xxxxxxxx"]),
)
case(
    "observe.lines.encode:json_line",
    *LEAKS,
    lambda n: {"a": "\ud800" * n},
    lambda n: {"a": [1 << 70] * (n // 20)},
)


def kept(value, kind, coding=b""):
    return metered("observe.exchange_log.bodies").KeptBody(value, len(value), lambda: "x", kind, coding)


for kind, made in ((b"application/json", JSONS), (b"text/event-stream", STREAMS), (b"text/plain", JSONS[:4])):
    case(
        "observe.exchange_log.bodies:shown_body",
        *made,
        call=lambda f, v, kind=kind: (f(kept(v, kind), 1 << 24), f(kept(v, kind), len(v) // 2)),
    )
case(
    "observe.exchange_log.bodies:shown_body",
    *MEMBERS,
    call=lambda f, v: f(kept(v, b"application/json", b"gzip"), 1 << 24),
)
case("observe.exchange_log.bodies:parsed", *JSONS)
case(
    "observe.exchange_log.bodies:shown_stream",
    *STREAMS,
    call=lambda f, v: (f(v, True, len(v)), f(v, False, 2 * len(v))),
)


def exchange(headers=(), body=b"{}", answer=b"", kind=b"application/json", path="/v1/x", model="m"):
    made = metered("exchange.record").Exchange(started=0.0, timestamp=0.0, method="POST", path=path)
    made.model, made.request_headers, made.request_body = model, list(headers), body
    made.request_is_ordinary = body.startswith(b'{"')
    made.response_headers = [(b"content-type", kind)]
    made.capture = metered("observe.exchange_log.capture").Capture(1 << 24)
    made.capture.response.feed(answer)
    return made


case(
    "observe.exchange_log.line:exchange_line",
    *HEADERS,
    call=lambda f, v: f(exchange(v), 1 << 24, secrets=["upstream-1"]),
)
case("observe.exchange_log.line:exchange_line", *JSONS, call=lambda f, v: f(exchange((), v, v), 1 << 24))
case(
    "observe.exchange_log.line:exchange_line",
    *STREAMS,
    call=lambda f, v: f(exchange((), b"{}", v, b"text/event-stream"), 1 << 24),
)
case(
    "observe.exchange_log.line:exchange_line",
    *KEYS,
    call=lambda f, v: f(
        exchange(
            [(b"authorization", v.encode()), (b"user-agent", v.encode())],
            b"{}",
            v.encode(),
            b"text/plain",
            "/" + v,
            v,
        ),
        1 << 24,
    ),
)
for name in ("text_line", "metadata"):
    case(f"observe.lines.record:{name}", *KEYS, call=lambda f, v: f(exchange((), path="/" + v, model=v)))
case("observe.exchange_log.files:sanitised", *KEYS, text("../"), text("/"))
case("observe.exchange_log.files:file_name", *KEYS, call=lambda f, v: f(exchange(model=v)))
case(
    "observe.otel.trace_parent:trace_headers",
    *HEADERS,
    lambda n: [(b"traceparent", b"00-" + b"a" * n), (b"tracestate", b"a=b," * (n // 4))],
)
case("observe.exchange_log.capture:BodyCapture", *JSONS[:3], call=fed(lambda c: c(1 << 12), 100))
case(
    "policies.cache.entry:make_entry",
    rep(b"a"),
    call=lambda f, v: f(
        b"OK", [(b"x", b"v")] * (len(v) // 9), [v[i : i + 99] for i in range(0, len(v), 99)], 0.0, None
    ),
)
for step in (None, 7):
    case(
        "observe.exchange_log.capture:TimedCapture",
        rep(b"a"),
        call=fed(lambda c: c(1 << 24, lambda: 0.0), step),
    )
case("observe.exchange_log.secret_members:has_credentials", *LEAKS)


def raw_of(function, value):
    capture = metered("observe.exchange_log.capture").TimedCapture(1 << 24, lambda: 0.0)
    for at in range(0, len(value), 100):
        capture.feed(value[at : at + 100])
    exchange = SimpleNamespace(reason=b"OK", status=200, started=0.0)
    return function(exchange, capture, b"", 1 << 24, ("a secret", "another"))


case("observe.exchange_log.raw:raw_response", *STREAMS, *JSONS, rep(b"\xff"), call=raw_of)


TALKS = [
    lambda n: {"messages": [{"role": "user", "content": "\x1b"}] * (n // 64)},
    lambda n: {
        "messages": [{"content": [{"type": "text", "text": "a"}] * (n // 32), "tool_calls": [{}] * (n // 8)}]
    },
    lambda n: {"input": [{"type": "reasoning", "summary": ["a"]}] * (n // 64), "tools": [{}] * (n // 8)},
    lambda n: {"messages": "a" * n, "instructions": "\u202e" * n},
    lambda n: {"choices": [{"message": {"content": "a" * (n // 8)}}] * 8, "output": []},
    lambda n: {"output": [{"type": "message", "content": [{"text": "b"}]}] * (n // 64)},
    lambda n: {"data": [{"embedding": []}] * (n // 32)},
    lambda n: {"x" * n: ["y"] * (n // 8)},
]
case("command.conversation:asked", *TALKS)
case("command.conversation:answered", *TALKS)
case("command.conversation:texts", *TALKS)
case("command.conversation:printable", text("\x1b"), text("a"), text("\u202e\n"))
case(
    "command.conversation:conversation",
    *TALKS,
    call=lambda f, v: f({"request": {"body": v}, "response": {"body": v}}),
)
case(
    "command.conversation:head",
    text("a"),
    call=lambda f, v: f({"id": v, "request": {"path": v}, "outcome": v}),
)
