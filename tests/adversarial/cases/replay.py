"""Recorded answers."""

from __future__ import annotations

import json

from adversarial.cases.mock_upstream import FORMS
from adversarial.cases.registry import DOCUMENTS, KEYS, case, fed, rep, text

case(
    "upstream.replay.match:asked_for_json",
    *DOCUMENTS,
    call=lambda f, value: f("POST", "/a", value, frozenset(("user",))),
)
case(
    "upstream.replay.match:asked_for_bytes",
    *FORMS,
    rep(b"\xff"),
    call=lambda f, body: f("POST", "/files", body, [b"multipart/form-data; boundary=b"]),
)
case(
    "upstream.replay.match:asked_for_bytes",
    text("a=1&"),
    text("&"),
    text("/"),
    text("?"),
    call=lambda f, query: f("GET", "/files?" + query, b"", ()),
)


def recorded_line(value):
    request = {"method": "POST", "path": "/v1" * 3 + "/a", "headers": {}, "body": value}
    headers = {"Content-Type": "text/event-stream"}
    return {
        "request": request,
        "response": {"status_code": 200, "headers": headers, "body": value},
        "outcome": "complete",
    }


case(
    "upstream.replay.match:asked_of_line",
    *DOCUMENTS,
    call=lambda f, value: f(recorded_line(value), frozenset(("user",))),
)
case(
    "upstream.replay.match:asked_of_line",
    text("/v1"),
    text("/openai"),
    call=lambda f, path: f({"request": {"method": "GET", "path": path, "body": None}}, frozenset()),
)
case(
    "upstream.replay.match:first_difference",
    *DOCUMENTS,
    call=lambda f, value: (f(value, json.loads(json.dumps(value))), f(value, {}), f({}, value)),
)
case(
    "upstream.replay.recorded:answer_of_line",
    *DOCUMENTS,
    lambda n: {"choices": [{"delta": {"tool_calls": [{}] * (n // 4)}}]},
    call=lambda f, value: f(recorded_line(value), True),
)
case(
    "upstream.replay.recorded:answer_of_line",
    lambda n: [[0, "a"]] * (n // 10),
    lambda n: [[0, {"base64": "YQ=="}]] * (n // 20),
    lambda n: [[0, "a" * n]],
    call=lambda f, chunks: f(
        {
            "outcome": "complete",
            "response": {
                "status_code": 200,
                "headers": {f"x{i}": "v" for i in range(len(chunks))},
                "raw": {"status_line": "HTTP/1.1 200 OK", "chunks": chunks},
            },
        }
    ),
)


case(
    "wire.websocket_frames:FrameEnds",
    text(b"\x81\x00"),
    text(b"\x81\xff\x00"),
    text(b"\x81\x7e\x00\x00"),
    rep(b"a", b"\x81\x7f" + b"\xff" * 8),
    call=fed(lambda made: made()),
)
case(
    "wire.websocket_frames:FrameEnds",
    text(b"\x81\x00"),
    rep(b"a", b"\x81\x7f" + b"\xff" * 8),
    call=fed(lambda made: made(), 1),
)


def reported(report, value):
    made = report()
    made.take(value, "a:1")
    made.lines()


case(
    "upstream.replay.report:CassetteReport",
    *(lambda size, make=make: make(size).encode() for make in KEYS),
    rep(b"bearer ab1", b'{"a":"', b'"}'),
    rep(b'"a":1,', b"{", b'"b":1}'),
    call=reported,
)
