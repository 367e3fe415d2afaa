"""Server-sent events, and what reads them: usage, errors, the answer that the exchange log makes of them."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from types import SimpleNamespace

from adversarial.cases.registry import DOCUMENTS, JSONS, STREAMS, case, fed, rep
from adversarial.meter import metered

decoders = [fed(lambda c: c(1 << 20)), fed(lambda c: c(1 << 20), 1), fed(lambda c: c(100), 7)]
for feeding in decoders:
    case("wire.sse:SSEDecoder", *STREAMS, call=feeding)
case("wire.sse:begins_stream", *STREAMS)
case("wire.sse:find_block_end", *STREAMS, call=lambda f, v: f(v, 0))
case("wire.sse:with_data", *STREAMS, call=lambda f, v: f(v, b"x"))
case("wire.sse:with_data", rep(b"\n"), call=lambda f, v: f(b"data: a\r\ndata: b\n\n", v))
case("wire.event_data:event_data", *STREAMS, call=lambda f, v: (f(v, True), f(v, False)))
case("policies.usage.text_meter:TextMeter", *STREAMS, *JSONS, call=fed(lambda c: c()))
case("policies.usage.text_meter:TextMeter", *STREAMS[:4], *JSONS, call=fed(lambda c: c(True), 1))
for step in (None, 1, 1000):
    case("policies.usage.scanner:UsageScanner", *STREAMS, *JSONS, call=fed(lambda c: c(), step))
meters = fed(lambda c: SimpleNamespace(feed=(m := c(lambda usage: None)).look, finish=m.flush), 1000)
case("policies.usage.meter:UsageMeter", *STREAMS, *JSONS, call=meters)


def compressed_meter(target, value):
    meter = target(lambda usage: None, b"gzip")
    for at in range(0, len(value), 4096):
        meter.look(value[at : at + 4096])
    meter.flush()


MEMBERS = [
    lambda n: gzip.compress(b"a") * (n // 21),
    lambda n: gzip.compress(b"") * (n // 20),
    lambda n: gzip.compress(b"a" * (n * 100)),
    lambda n: gzip.compress(b"a") + b"\0" * n,
    lambda n: gzip.compress(b"a") + b"x" * n,
]
case("policies.usage.meter:UsageMeter", *MEMBERS, call=compressed_meter)


def usage_filter(name, step):
    def call(target, value):
        meter = metered("policies.usage.meter").UsageMeter(lambda usage: None)
        body_filter = target(meter)
        for at in range(0, len(value), step):
            body_filter.feed(value[at : at + step])
        body_filter.finish()

    case(name, *STREAMS, *JSONS, call=call)


usage_filter("policies.usage.filters:WatchUsage", 1000)
usage_filter("policies.usage.filters:HideUsage", 1000)
usage_filter("policies.usage.filters:HideUsage", 1 << 20)
case("policies.usage.filters:ReadUsageWhole", *JSONS, call=lambda c, v: c(lambda usage: None, len(v)).feed(v))
case("policies.usage.filters:maybe_usage_chunk", *JSONS)
case("policies.usage.document_errors:WatchDocumentError", *JSONS, call=fed(lambda c: c(None), 1000))
case("policies.usage.objects:usage_of_document", *JSONS)
case("policies.usage.objects:maybe_usage", *DOCUMENTS)
case("cost.later_usage:maybe_state", *JSONS)


def events_of(size):
    found = []
    for make in STREAMS[-3:]:
        for line in make(size).split(b"\n\n"):
            with suppress(ValueError):
                found.append(json.loads(line[6:]))
    return found


case(
    "observe.exchange_log.assembly.assemble:assemble",
    events_of,
    *[
        lambda n, i=i: [json.loads(each[6:]) for each in STREAMS[i](n).split(b"\n\n") if each]
        for i in (-3, -2, -1, 0)
    ],
)
case(
    "observe.exchange_log.assembly.assemble:assemble",
    lambda n: [
        {"choices": [{"index": i % 7, "delta": {"a": [i], "tool_calls": [{"index": i}]}}]}
        for i in range(n // 50)
    ],
)
case(
    "observe.exchange_log.assembly.media:assemble_transcript",
    lambda n: [
        {"type": "transcript.text." + ("segment", "delta")[i % 2], "text": "a", "delta": "b"}
        for i in range(n // 50)
    ],
)
case(
    "observe.exchange_log.assembly.media:assemble_images",
    lambda n: [{"type": "image_edit.completed", "b64_json": "a", f"x{i}": i} for i in range(n // 50)],
)
texts = [lambda n, i=i: [each[6:] for each in STREAMS[i](n).split(b"\n\n")] for i in (0, -3, -2, -1)]


def alternating(n):
    return [
        b'{"choices":[{"delta":{"content":"%b"}}]}' % (b"ab"[i % 5 == 4 :]) + b" " * (i % 5 == 4)
        for i in range(n // 40)
    ]


case("observe.exchange_log.assembly.runs:shortened", *texts, alternating)
case(
    "observe.exchange_log.assembly.word_runs:join_first",
    *texts,
    call=lambda f, v: f(v, lambda e: len(e) % 2 == 0, lambda es: b"".join(es) if len(es) > 3 else None),
)
case(
    "observe.exchange_log.assembly.word_runs:likeness_with_words",
    *JSONS,
    call=lambda f, v: f(v, v[::-1], v + b'"delta":"x"' + v[::-1]),
)
case(
    "observe.exchange_log.assembly.texts:are_texts",
    rep(b"a"),
    rep(b"\\u00e9"),
    rep(b"\\"),
    rep(b"\xc3\xa9"),
    call=lambda f, v: f([v], v),
)
case("observe.exchange_log.assembly.texts:only_continues", *JSONS)
case(
    "policies.cache.unfit_answers:is_unfit",
    *STREAMS,
    call=lambda f, v: (f(b"text/event-stream", v, True), f(b"text/event-stream", v, False)),
)
case("policies.cache.unfit_answers:is_unfit", *JSONS, call=lambda f, v: f(b"application/json", v, False))
case("policies.routing.error_answer:error_document", *JSONS, call=lambda f, v: f(v, []))
case(
    "policies.routing.error_answer:error_document",
    *MEMBERS,
    call=lambda f, v: f(v, [(b"content-encoding", b"gzip")]),
)
case(
    "policies.routing.quota_error:error_code",
    *JSONS,
    call=lambda f, v: f(v, [(b"content-type", b"application/json")]),
)
case(
    "policies.routing.quota_error:error_code",
    *MEMBERS,
    call=lambda f, v: f(v, [(b"content-encoding", b"gzip")]),
)

case(
    "policies.routing.too_long:says_too_long",
    *JSONS,
    call=lambda f, v: f(v, [(b"content-type", b"application/json")]),
)
case(
    "policies.routing.too_long:says_too_long",
    *MEMBERS,
    call=lambda f, v: f(v, [(b"content-encoding", b"gzip")]),
)
case(
    "policies.routing.quota_error:says_too_dear",
    *JSONS,
    rep(b"fewer max_tokens", b'{"error":{"message":"', b'"}}'),
    rep(b"1", b'{"error":{"message":"prompt tokens limit exceeded: ', b'"}}'),
    call=lambda f, v: f(v, []),
)
