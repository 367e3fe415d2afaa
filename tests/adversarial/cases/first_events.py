"""Content codings, and what is looked at before the head of an answer goes out."""

from __future__ import annotations

import zlib

from adversarial.cases.registry import DOCUMENTS, JSONS, STREAMS, case, fed, rep
from adversarial.cases.streams import MEMBERS

from openai_proxy.wire.sse import SSEBlock


def decoding(coding):
    def call(function, value):
        decoder = function(coding)
        for at in range(0, len(value), 4096):
            decoder.put(value[at : at + 4096])
            while decoder.next_piece(65536):
                pass

    return call


case("wire.codings:maybe_decoder", *MEMBERS, call=decoding(b"gzip"))
case(
    "wire.codings:maybe_decoder", lambda n: zlib.compress(b"a" * n * 50), rep(b"x"), call=decoding(b"deflate")
)
case("wire.codings:maybe_decoded", *MEMBERS, call=lambda f, v: f(v, b"gzip", 1 << 20))
case("wire.codings:codings_of", rep(b","), rep(b"gzip,"), rep(b" "), rep(b"a"))


for step in (1, 1000, 1 << 20):
    case("wire.first_events:FirstEvents", *STREAMS, rep(b": a\n\n"), call=fed(lambda c: c(), step))
case("wire.first_events:FirstEvents", *MEMBERS, call=fed(lambda c: c(b"gzip"), 1000))
case(
    "wire.first_events:error_of_answer",
    *JSONS,
    call=lambda f, v: f({"errors": [v.decode("latin-1")], "code": v.decode("latin-1")}),
)
case(
    "wire.first_events:maybe_error",
    *DOCUMENTS,
    lambda n: {"error": {"code": "\n" * n}},
    call=lambda f, v: f(v, True),
)
case("wire.first_events:error_of_document", *JSONS)
for name in ("maybe_error_line", "error_of_event"):
    case(
        f"wire.first_events:{name}",
        *JSONS,
        rep(b"event: error\n"),
        call=lambda f, v: (f(SSEBlock(b"error: " + v)), f(SSEBlock(v, v))),
    )
case(
    "wire.first_events:error_of_failed_response",
    *JSONS,
    lambda n: b'{"status":"failed","error":{"code":"' + b"x" * n,
)
case("wire.first_events:is_named_error", *STREAMS, rep(b"event: error "), rep(b"event:"))
case("policies.think.thinking_off:turns_thinking_off", *DOCUMENTS)
case("wire.first_events:shown_code", lambda n: "\n" * n)
for step in (1, 1000, 1 << 20):
    case(
        "policies.usage.later_errors:LaterErrors",
        *STREAMS,
        rep(b": a\n\n"),
        rep(b'data: {"error":null}\n\n'),
        rep(b'"type"'),
        rep(b"error: {}\n\n"),
        rep(b"[", b"error: "),
        call=fed(lambda c: c(), step),
    )
case("policies.usage.later_errors:LaterErrors", *MEMBERS, call=fed(lambda c: c(b"gzip"), 1000))
