"""The worst inputs of each function that takes bytes from outside.

`CASES` has, by `module:name`, functions of a size: each returns what runs
the function of the counted package on an input of about that many bytes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from types import SimpleNamespace

from adversarial.meter import metered

from openai_proxy.wire.sse import SSEBlock

CASES: dict[str, list] = {}


def case(name, *inputs, call=None):
    """Register a function of one argument with makers of inputs, each from a size."""

    def run_of(make):
        def at(size):
            module, _, path = name.partition(":")
            function = metered(module)
            for part in path.split("."):
                function = getattr(function, part)
            value = make(size)
            runner = call or (lambda target, argument: target(argument))

            def run():
                with suppress(Exception):  # a refusal is a right answer; its cost counts
                    result = runner(function, value)
                    if hasattr(result, "__next__"):
                        for _ in result:
                            pass

            return run

        return at

    CASES.setdefault(name, []).extend(run_of(make) for make in inputs)


def rep(unit, before=b"", after=b""):
    return lambda size: before + unit * (size // len(unit)) + after


def text(unit):
    return lambda size: unit * (size // len(unit))


def pairs(name=b"x", unit=b"a", value=b"v"):
    """Many lines, and one long line."""
    return [
        lambda size: [(name + b"%d" % n, value) for n in range(size // 16)],
        lambda size: [(name, value) for _ in range(size // 16)],
        lambda size: [(name, unit * (size // len(unit)))],
    ]


def fed(make, step=None, **options):
    """Return a call that feeds a value to an object in pieces, as a network does."""

    def call(target, value):
        fed_into = make(target, **options)
        for at in range(0, len(value), step or max(len(value), 1)):
            fed_into.feed(value[at : at + (step or len(value))])
        fed_into.finish() if hasattr(fed_into, "finish") else None

    return call


NEST = [rep(b"["), rep(b'{"a":'), lambda n: b"[" * (n // 2) + b"]" * (n // 2)]
JSONS = [
    *NEST,
    rep(b'{"model":"m","messages":[', b"", b"]}"),
    rep(b"[],", b'{"model":"m","x":[', b"1]}"),
    rep(b'\\"', b'{"a":"', b'"}'),
    rep(b"\\\\", b'{"a":"', b'"}'),
    rep(b"\\u0041", b'{"a":"', b'"}'),
    rep(b'"a":1,', b"{", b'"b":1}'),
    rep(b'"usage":{'),
    rep(b'"usage":{"input_tokens":1},', b"{", b'"b":1}'),
    rep(b'"usage":null,', b"{", b'"b":1}'),
    rep(b'{"error":', b"", b""),
    rep(b" ", b'{"a"', b":1}"),
    rep(b"9", b'{"a":', b"}"),
]
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" token"}}]}'
STREAMS = [
    rep(EVENT + b"\n\n"),
    rep(EVENT + b"\r\n\r\n"),
    rep(EVENT + b"\r\r"),
    rep(b"data: a\n"),
    rep(b"data: a\r\n"),
    rep(b"data\n\n"),
    rep(b"\r"),
    rep(b"\n"),
    rep(b":\n"),
    rep(b"event: error\n\n"),
    rep(b"a", b"data: "),
    rep(b"\r", b"data: a"),
    rep(b'data: {"choices":[],"usage":null}\n\n'),
    rep(b'data: {"usage":{"a":\n\n'),
    lambda n: b"".join(b'data: {"choices":[],"k%06d":null}\n\n' % i for i in range(n // 36)),
    lambda n: b"".join(
        b'data: {"choices":[{"index":%d,"delta":{"content":"<"}}]}\n\n' % i for i in range(n // 60)
    ),
    lambda n: b"".join(
        b'data: {"type":"response.output_text.delta","output_index":%d,"delta":"x"}\n\n' % i
        for i in range(n // 80)
    ),
]
KEYS = [
    text(unit)
    for unit in (
        *(
            "eyJ-",
            "eyJaaaaaa-",
            "eyJaaaaaa.",
            "sk-",
            "sk-aaaaaa ",
            "Bearer ",
            "Bearer\t",
            "Basic  ",
            "AKIA",
            "a=-",
        ),
        *(
            "a-",
            "key=a&",
            "%73k-",
            "%25",
            "ek_",
            "sess-",
            "x://",
            "://a@",
            "xoxb-",
            "A",
            "-",
            ".",
            "=",
            "hf_a ",
        ),
    )
]


def choices(n):
    each = {
        "index": 0,
        "message": {"content": "<think>a</think>b"},
        "delta": {"content": "<think>a</think>b<"},
    }
    return {"choices": [{**each, "index": number} for number in range(n // 100)]}


def document_of(make):
    def made(size):
        with suppress(ValueError):
            value = json.loads(make(size))
            if isinstance(value, dict):
                return value
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * (size // 30)}]}

    return made


DOCUMENTS = [
    lambda n: {"messages": [{"role": "user", "content": "x"}] * (n // 30), "input": ["a"] * (n // 8)},
    lambda n: {f"k{i}": None for i in range(n // 10)},
    lambda n: {"prompt": "a" * n, "tools": [{"a": ["b"] * (n // 8)}]},
    choices,
]

# ---- server-sent events and what reads them

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

# ---- thoughts


def rule(mode="strip", **more):
    return metered("policies.think.splitter").ThinkRule(mode=mode, **more)


thinking = [
    text("<"),
    text("<think>"),
    text("</think>"),
    text("<think>a</think>"),
    text("<thin"),
    lambda n: " " * n + "<think>",
    lambda n: "a<think>" + "</thin" * (n // 6),
    lambda n: "a" + "<think>b</think>" * (n // 16) + "<think>" + "<" * n,
]
rules = [rule, lambda: rule(implicit_start=True, trim=True), lambda: rule(where="start")]
for name in ("split_text", "split_pieces"):
    for make in rules:
        case(f"policies.think.splitter:{name}", *thinking, call=lambda f, v, make=make: f(v, make()))
case("policies.think.splitter:ThinkRule", rep(b"<"), rep(b"\\"), call=lambda c, v: rule().may_begin_in(v))
for step in (None, 1, 1000):
    for make in rules:
        case(
            "policies.think.splitter:ThinkSplitter",
            *thinking,
            call=fed(lambda c, make=make: c(make(), True, 1000), step),
        )
chunks = [
    lambda n: b"data: " + json.dumps(choices(n)).encode() + b"\n\n",
    lambda n: b"data: " + json.dumps(choices_with_tokens(n)).encode() + b"\n\n",
    lambda n: b'data: {"choices":[{"index":0,"delta":{"content":"<think>a</think><"}}]}\n\n' * (n // 70),
    lambda n: b'data: {"type":"response.output_text.delta","delta":"<","output_index":0}\n\n' * (n // 70),
]


def tokens_of(n):
    tokens = [{"token": each} for each in ("<think>", "a", "</think>", "b")] * (n // 80)
    joined = "".join(each["token"] for each in tokens)
    return {
        "choices": [{"index": 0, "message": {"content": joined}, "logprobs": {"content": tokens}}],
        "output": [{"content": [{"type": "output_text", "text": joined, "logprobs": tokens}]}],
    }


def message_events(texts):
    for number, each in enumerate(texts):
        where = {"output_index": number, "content_index": 0, "sequence_number": number}
        yield {"type": "response.output_item.added", **where, "item": {"type": "message", "content": []}}
        yield {"type": "response.output_text.delta", **where, "delta": each, "logprobs": []}
        yield {"type": "response.output_item.done", **where, "item": {"type": "message", "id": "m"}}


def streamed(events):
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)


messages = [
    lambda n: streamed(message_events(["<think>a</think>b<think>c</think>"] * (n // 600))),
    lambda n: streamed(message_events(["<think>"] * (n // 600))),
    lambda n: streamed(message_events(["a<think>"] * (n // 600))),
    lambda n: streamed(message_events([" "] * (n // 600))),
    lambda n: streamed([tokens_of(n)]),
]
for mode in ("strip", "reasoning_content"):
    for step in (1 << 20, 1000):
        case(
            "policies.think.filters:ThinkStreamFilter",
            *chunks,
            *STREAMS,
            call=fed(lambda c, mode=mode: c(rule(mode)), step),
        )
    case(
        "policies.think.filters:ThinkDocumentFilter",
        lambda n: json.dumps(choices(n)).encode(),
        *JSONS,
        call=fed(lambda c, mode=mode: c(rule(mode)), 1000),
    )

    for step in (None, 1000):
        case(
            "policies.think.responses:ResponseStream",
            *messages,
            call=lambda c, v, mode=mode, step=step: [
                fed(
                    lambda _, mode=mode: metered("policies.think.filters").ThinkStreamFilter(rule(mode)), step
                )(c, v)
            ],
        )
        case(
            "policies.think.stored:StoredStreamFilter",
            *messages,
            *STREAMS,
            call=fed(lambda c, mode=mode: c(lambda model: rule(mode), 3), step),
        )
case("policies.think.stored:SkipEvents", *messages, *STREAMS, call=fed(lambda c: c(1 << 40), 1000))
case(
    "policies.think.stored:without_starting_after",
    rep(b"&starting_after=1", b"/r?stream=true"),
    rep(b"starting_after=", b"/r?"),
    rep(b"1", b"/r?starting_after="),
)
case("policies.think.filters:model_of", choices)


def text_edits(target, value):
    rewrite = metered("policies.think.rewrite")
    body = json.dumps(value).encode()
    for mode in ("strip", "reasoning_content"):
        rewrite.document_edits(body, value, rule(mode))
    texts = list(rewrite.document_texts(value))
    rewrite.whole_text_members(body, texts, rule("reasoning_content"), True)


def choices_with_tokens(n):
    tokens = [{"token": each} for each in ("<think>", "a", "</think>", "b<")]
    each = {"delta": {"content": "<think>a</think>b<"}, "message": {"content": "<think>a</think>b<"}}
    each["logprobs"] = {"content": tokens}
    return {"choices": [{**each, "index": number} for number in range(n // 260)]}


def part_list(n):
    part = {"type": "text", "text": "<think>a</think>b"}
    return {"choices": [{"index": 0, "message": {"content": [part] * (n // 50)}}]}


def messages_of(n):
    part = {"type": "output_text", "text": "<think>a</think>b<think>c</think>"}
    return {"output": [{"type": "message", "content": [part]}] * (n // 100)}


for name in (
    "edits_of",
    "document_edits",
    "document_texts",
    "response_texts",
    "content_fields",
    "whole_text_members",
    "visible_of_fields",
    "ordered_thoughts",
    "item_edits",
    "merge",
):
    case(
        f"policies.think.rewrite:{name}",
        choices,
        choices_with_tokens,
        part_list,
        messages_of,
        tokens_of,
        call=text_edits,
    )
case(
    "policies.think.rewrite:snapshot_texts",
    lambda n: {"item": {"content": [{"type": "output_text", "text": "a"}] * (n // 50)}},
)
case(
    "policies.think.rewrite:encode_text",
    text("\u00e9"),
    text("\ud800"),
    call=lambda f, v: (f(v, True), f(v, False)),
)
for name in (
    "chat_tokens",
    "legacy_tokens",
    "response_tokens",
    "shown_tokens",
    "text_bytes",
    "LocatedTokens",
):
    case(f"policies.think.log_probabilities:{name}", tokens_of, call=text_edits)
case("policies.think.log_probabilities:TokenQueue", tokens_of, call=text_edits)
case(
    "policies.think.texts:Texts",
    *chunks,
    *messages,
    *STREAMS,
    call=lambda c, v: (c(rule()).may_pass(v), c(rule(implicit_start=True)).may_pass(v)),
)

# ---- JSON

case(
    "wire.json_members:string_end",
    rep(b"\\", b'"'),
    rep(b'\\"', b'"'),
    rep(b"a", b'"', b'"'),
    call=lambda f, v: f(v, 0),
)
case("wire.json_members:skip_space", rep(b" "), rep(b"\n\t"), call=lambda f, v: f(v, 0))
case("wire.json_members:value_end", *JSONS, call=lambda f, v: f(v, 0))
for name in ("iter_members", "iter_elements"):
    case(f"wire.json_members:{name}", *JSONS, call=lambda f, v: f(v, 0))
case(
    "wire.json_members:iter_elements",
    rep(b"1,", b"[", b"1]"),
    rep(b" ", b"[", b"]"),
    call=lambda f, v: f(v, 0),
)
case("wire.json_members:locate", *JSONS, call=lambda f, v: f(v, ("a", "b", 3)))
case(
    "wire.json_members:locate_all",
    lambda n: json.dumps(choices(n)).encode(),
    call=lambda f, v: f(v, [("choices", i, "delta") for i in range(len(v) // 110)]),
)
case(
    "wire.json_edits:splice",
    rep(b"a"),
    call=lambda f, v: f(v, [(i, i + 1, b"xy") for i in range(0, len(v), 2)]),
)
case("wire.json_edits:member_edits", *JSONS, call=lambda f, v: f(v, 0, {"a": b"1", "z": b"2"}))
case("wire.json_members:find_only_member", *JSONS, call=lambda f, v: (f(v, "a"), f(v, "usage")))
for name, more in (
    ("replace_members", ({"a": b"1", "n": b"2"}, ("a",))),
    ("append_members", (b',"a":1',)),
    ("replace_nested", ("a", {"b": b"1"})),
):
    case(f"wire.json_edits:{name}", *JSONS, rep(b" ", b"{", b"}"), call=lambda f, v, more=more: f(v, *more))
for name in ("parse_object", "ordinary_object", "maybe_object", "shallow_document"):
    case(f"wire.documents:{name}", *JSONS)
case(
    "wire.request_json:read_request",
    *JSONS,
    *[lambda n, make=make: make(n).decode().encode("utf-16") for make in JSONS[:4]],
)
case(
    "wire.request_json:read_with_outline",
    *JSONS,
    lambda n: b"{%b}" % b",".join(b'"Model%d":"m"' % i for i in range(min(n // 16, 1000))),
    call=lambda f, v: f(v, ("model",)),
)
case("wire.request_json:begins_like_object", rep(b" "), rep(b"\0"), rep(b"\xef\xbb\xbf"))
for name in ("outline", "models_named"):
    case(
        f"wire.request_json:{name}",
        *DOCUMENTS,
        lambda n: {"MODEL" * (n // 5): "m"},
        lambda n: {f"Model{i}": i for i in range(n // 8)},
    )
case("policies.cache.key:canonical_json", *JSONS)
for name in ("is_cold", "is_deterministic"):
    case(f"policies.cache.rules:{name}", *DOCUMENTS)
case("policies.usage.estimate:estimated_input_tokens", *DOCUMENTS)
case("policies.usage.estimate:requested_output_tokens", *DOCUMENTS)
case(
    "policies.usage.estimate:prompt_tokens",
    *JSONS,
    call=lambda f, v: (f(v, None), f(v, document_of(lambda n: v)(len(v)))),
)
base64s = [
    text("A"),
    text("="),
    text("data:,"),
    text("%"),
    lambda n: "data:image/png;base64," + "iVBORw0KGgo" * (n // 11),
    lambda n: "data:image/jpeg;base64," + "/9j/4AAQ" * (n // 8),
]
for name in ("image_tokens", "audio_tokens", "file_tokens", "video_tokens"):
    case(f"policies.usage.media_tokens:{name}", *base64s)
case(
    "policies.usage.media_tokens:maybe_image_size",
    rep(b"\xff\xd8\xff\xe0\0\x02"),
    rep(b"\xff", b"\xff\xd8"),
    rep(b"\xff\xe0\0\x02", b"\xff\xd8"),
    rep(b"a", b"RIFF    WEBPVP8 "),
    rep(b"GIF89a"),
)

case("wire.json_edits:without_members", *JSONS, call=lambda f, v: (f(v, ("a",)), f(v, ("a",), True)))
case("policies.override.endpoint_params:merged", *DOCUMENTS, call=lambda f, v: f(v, v))


def by_beginning(step):
    def call(target, value):
        fed(
            lambda c: c(
                lambda: metered("wire.sse").SSEDecoder(99),
                lambda: metered("policies.usage.text_meter").TextMeter(),
            ),
            step,
        )(target, value)

    return call


for step in (1, 1000):
    case("wire.by_beginning:ByBeginning", *STREAMS, *JSONS[:4], call=by_beginning(step))

# ---- content codings


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

# ---- what is looked at before a head goes out

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

# ---- heads

HEADERS = [
    each
    for name, unit in (
        (b"x", b"a"),
        (b"connection", b"a,"),
        (b"via", b"1.1 openai-proxy,"),
        (b"cookie", b"w0 "),
        (b"authorization", b"Bearer "),
        (b"sec-websocket-protocol", b"openai-insecure-api-key.a,"),
        (b"content-encoding", b"gzip,"),
        (b"cache-control", b"a=b,"),
        (b"x-forwarded-for", b"1.2.3.4,"),
        (b"user-agent", b"eyJ-"),
    )
    for each in pairs(name, unit, unit)
]
for name in ("find_credential", "find_client_key", "find_client_digest"):
    case(f"policies.authenticate.credentials:{name}", *HEADERS)
case(
    "policies.authenticate.caller:Callers",
    *HEADERS,
    call=lambda c, v: (c((b"x",)).find(v), c((b"x",)).further(v)),
)
case("policies.authenticate.caller:credential_id", rep(b"Bearer "))
for name in ("bearer_token", "subprotocol_keys"):
    case(
        f"policies.authenticate.credentials:{name}",
        rep(b"Bearer "),
        rep(b","),
        rep(b" "),
        rep(b"openai-insecure-api-key.a,"),
    )
case("policies.authenticate.organization:Account", *HEADERS, call=lambda c, v: (c("o", "p").on(v), c().on(v)))
lines_of = lambda c, v: c(("a*", "x*"), [(b"y", b"1")]).on(v)  # noqa: E731
case("wire.upstream_lines:UpstreamLines", *HEADERS, call=lines_of)
case(
    "policies.authenticate.credentials:replace_credentials",
    *HEADERS,
    call=lambda f, v: f(v, b"authorization", b"k"),
)
case(
    "policies.authenticate.credentials:CredentialSwap",
    *HEADERS,
    call=lambda c, v: c(b"authorization", b"k").on(v),
)
case("wire.headers:scan_response", *HEADERS)
case("wire.headers:scan_request", *HEADERS, call=lambda f, v: f(v, True, b"openai-proxy"))
case("wire.headers:announced_length", *HEADERS)
case("wire.headers:one_coding", rep(b","), rep(b"gzip,"), rep(b" "), call=lambda f, v: f([v, v]))
case("wire.headers:get", *HEADERS, call=lambda f, v: f(v, b"zz"))
case("wire.headers:without", *HEADERS, call=lambda f, v: f(v, b"x", b"zz"))
for name in ("is_host", "is_length", "media_type", "has_controls"):
    case(
        f"wire.headers:{name}",
        rep(b"a"),
        rep(b"1"),
        rep(b";"),
        rep(b" "),
        rep(b"a."),
        rep(b"a:"),
        rep(b"\t", b"text/html"),
    )
for name in ("media_type_and_coding", "ask_identity", "without_coding"):
    case(f"wire.body_headers:{name}", *HEADERS)
case("wire.body_headers:with_length", *HEADERS, call=lambda f, v: f(v, 5))
for place in (
    "policies.cache.key:chosen_headers",
    "policies.cache.entry:stored_headers",
    "policies.cache.rules:parse_cache_control",
    "policies.routing.rules:repeats_by_itself",
    "wire.web_origins:page_marks",
):
    case(place, *HEADERS)
case("policies.cache.key:varies_on_unkeyed", rep(b"a,"), rep(b","), rep(b" "))
case("policies.cache.rules:judge", *HEADERS, call=lambda f, v: f(200, v))
case("policies.routing.rules:says_no_retry", *HEADERS)
case("policies.routing.repeatable:has_idempotency_key", *HEADERS)
case("policies.routing.repeatable:may_arrive_twice", *HEADERS, call=lambda f, v: f(b"POST", v))
case(
    "policies.routing.repeatable:creates_nothing", *HEADERS, call=lambda f, v: f(b"POST", "responses", {}, v)
)
STARTS = [rep(b"a"), rep(b" "), rep(b"a "), rep(b"\r"), rep(b"/", b"GET "), rep(b"\n"), rep(b"\x16\x03")]
case("wire.request_line:judge_start", *STARTS, call=lambda f, v: f(v, 16384))
case("policies.routing.rules:status_may_be_retried", *HEADERS, call=lambda f, v: f(429, v))
case("wire.web_origins:readable", *HEADERS, call=lambda f, v: f(v, [(b"vary", b"origin")]))
for name in ("normal_origin", "host_name", "is_own_name"):
    case(
        f"wire.web_origins:{name}",
        rep(b"a"),
        rep(b"a.", b"http://"),
        rep(b":"),
        rep(b"["),
        rep(b"1."),
        rep(b"-"),
    )
case(
    "exchange.client_address:is_forwarded",
    lambda n: [b"x-%d" % i for i in range(n // 8)],
    lambda n: [b"a" * n],
)
case("exchange.client_address:parse_address", text("1."), text(":"), text("["), text("a"))
case(
    "wire.proxy_protocol:maybe_header",
    rep(b"PROXY "),
    rep(b"1", b"PROXY TCP4 "),
    rep(b"\r", b"PROXY UNKNOWN"),
    rep(b"a", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"),
)
TARGETS = [
    rep(b"/"),
    rep(b"/a", b"/v1"),
    rep(b"/.", b"/v1"),
    rep(b"%2e", b"/v1/"),
    rep(b";", b"/v1/.."),
    rep(b"a=b&", b"/v1/x?"),
    rep(b"model=", b"/v1/x?"),
    rep(b"%", b"/v1/"),
    rep(b"v1/", b"/"),
    rep(b"a", b"/v1/deployments/"),
    rep(b"@", b"http://"),
    rep(b"\\", b"/v1/"),
]
case("wire.targets:origin_form", *TARGETS, call=lambda f, v: f(v, frozenset((b"a",))))
case("wire.targets:map_target", *TARGETS)
case("wire.targets:with_path_model", *TARGETS, call=lambda f, v: f(v, "m"))
case("wire.targets:models_of_query", *TARGETS)
case("policies.routing.table:model_in_path", *TARGETS)
case("policies.routing.table:with_model_in_path", *TARGETS, call=lambda f, v: f(v, "m"))
lines = [
    lambda n: [b"x-%d: v" % i for i in range(n // 10)],
    lambda n: [b"a: " + b"b" * n],
    lambda n: [b"a" * n],
    lambda n: [b"content-type: " + b"a;" * (n // 2)],
]
heads = [
    lambda n, first=first, i=i: first + b"\r\n".join(lines[i](n)) + b"\r\n\r\n"
    for first in (b"POST /v1/files HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n")
    for i in range(4)
]
case("wire.keys:key_digest", rep(b"a"))
case("wire.render:header_lines", *HEADERS)
case("wire.render:rendered_lines", *HEADERS, call=lambda f, v: f(v, (b"", b"")))
case("wire.kept_lines:kept_lines", *HEADERS, call=lambda f, v: list(f(v)))
case("wire.render:request_head", rep(b"a"), call=lambda f, v: f(b"POST", v, b"h", v))
case("wire.render:response_head", rep(b"a"), call=lambda f, v: f(200, v, v))

# ---- what is written about strangers

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
case("observe.exchange_log.secret_members:without_credentials", *LEAKS)
case("observe.exchange_log.secret_members:is_laborious", *JSONS)
case(
    "observe.exchange_log.secret_members:shows_no_credentials",
    *LEAKS,
    call=lambda f, v: f(v, json.dumps(v).encode()),
)
case(
    "observe.exchange_log.secret_members:torn_without_credentials",
    *JSONS,
    *[lambda n, make=make: json.dumps(make(n)).encode()[:-9] for make in LEAKS],
    rep(b'"'),
    rep(b'"headers":{', b"{"),
    rep(b'"api_key":['),
    rep(b'"password":"'),
)
case(
    "observe.exchange_log.secret_members:without_texts",
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


class Source:
    def hold_body(self):
        """Nobody is asked to wait."""

    release_body = want_body = hold_body


def requests(step):
    def call(target, value):
        limits = metered("downstream.request_reader").DownstreamLimits()
        reader = target(Source(), limits, b"openai-proxy")
        for at in range(0, len(value), step):
            if reader.broken is None:
                reader.feed(value[at : at + step])

    return call


MESSAGES = [
    *heads[:4],
    rep(b"\r\n"),
    rep(b"a"),
    rep(b"1\r\nx\r\n", b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    rep(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"),
    rep(b"x", b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"),
    rep(b"x;y=z", b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"),
]
# One read of a socket brings 64 KiB at most. Within one read the reader copies what follows each pipelined request,
# some 50 MB of copies for 64 KiB of the shortest requests, 5 ms: so the pieces here are of 4 KiB, and many.
for step in (1, 1000, 4096):
    case("downstream.request_reader:RequestReader", *MESSAGES, call=requests(step))


def responses(step):
    def call(target, value):
        reader = target()
        for at in range(0, len(value), step):
            if reader.error is None:
                (reader.parser or reader.make_parser()).feed_data(value[at : at + step])

    return call


ANSWERS = [
    *heads[4:],
    rep(b"HTTP/1.1 100 Continue\r\n\r\n"),
    rep(b"1\r\nx\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    rep(b"x", b"HTTP/1.1 200 OK\r\n\r\n"),
    rep(b"a", b"HTTP/1.1 200 "),
]
for step in (1, 1000, 1 << 20):
    case("upstream.response_reader:ResponseReader", *ANSWERS, call=responses(step))


def labels(is_stream):
    return fed(lambda c: c(is_stream, True, lambda *found: None), 1000)


TIERS = [
    rep(b'data: {"service_tier":"flex","model":"m"}\n\n'),
    rep(b'"service_tier":"flex",', b'data: {"a":1,', b"}\n\n"),
    rep(b'"service_tier" \t\r\n:'),
    rep(b'data: "model"\n'),
]
case("policies.usage.answer_labels:AnswerLabels", *STREAMS, *TIERS, call=labels(True))
case("policies.usage.answer_labels:AnswerLabels", *JSONS, *TIERS, call=labels(False))
case(
    "policies.usage.answer_labels:note_document",
    *JSONS,
    *TIERS,
    call=lambda note, data: note(data, True, lambda *found: None),
)


FORMS = [
    rep(b"-", b"--b\r\n"),
    rep(b"--b\r\n"),
    rep(b"--b\r\n\r\n"),
    rep(b"\r\n--", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n"),
    rep(b"\r\n", b"--b\r\n"),
    rep(b"X-A: b\r\n", b"--b\r\n"),
    rep(b'name="a";', b"--b\r\nContent-Disposition: form-data;", b"\r\n\r\n"),
    rep(b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv\r\n'),
    rep(b"x", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n', b"\r\n--b--"),
]
for step in (
    None,
    1000,
):  # growing in place, what is read is counted as a copy: shorter steps would look quadratic
    case("wire.form_model:FormModel", *FORMS, call=fed(lambda c: c(b"b"), step))
case(
    "wire.form_model:names_in_head",
    rep(b'name="a";', b"Content-Disposition: form-data;"),
    rep(b'\\"', b'Content-Disposition: form-data; name="', b'"'),
    rep(b"\r\n ", b"Content-Disposition: form-data"),
    rep(b"X: y\r\n"),
)
case(
    "wire.form_model:boundary_of",
    *[
        lambda size, unit=unit: [b"multipart/form-data" + unit * (size // len(unit))]
        for unit in (b";", b"; a=b", b';a="', b'\\"', b'; boundary="\\', b" ")
    ],
    lambda size: [b"multipart/form-data"] * (size // 20),
)
BATCH_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
BATCH_LINE = b'{"url":"/v1/responses","body":{"model":"m","input":"hi"}}'
BATCH_LINES = [
    *JSONS,
    rep(BATCH_LINE + b"\n"),
    rep(BATCH_LINE + b"\r\n\r\n"),
    rep(b"\n"),
    rep(b"\r"),
    rep(b'"url":"/v1/responses",', b"{", b'"body":{}}'),
    rep(b'"body":{},', b"{", b'"url":"/v1/responses"}'),
    rep(b"/v1", b'{"url":"', b'","body":{}}'),
    rep(b'{"model":"m"},', b'{"url":"/v1/responses","body":{"model":"m","tools":[', b"{}]}}"),
    rep(b'"Model":"m",', b'{"url":"/v1/responses","body":{', b'"model":"m"}}'),
    lambda n: b"\n".join(BATCH_LINE.replace(b'"m"', b'"m%d"' % i) for i in range(n // 60)),
]
BATCH_FORMS = [
    *FORMS,
    *[lambda n, make=make: BATCH_HEAD + make(n) + b"\r\n--b--\r\n" for make in BATCH_LINES],
    rep(b"\r\n--", BATCH_HEAD),
    rep(b"\r\n-", BATCH_HEAD),
    rep(b"a", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'),
]
for step in (None, 1000):
    case("policies.batches.form:BatchForm", *BATCH_FORMS, call=fed(lambda c: c(b"b"), step))
    case("policies.batches.input:BatchLines", *BATCH_LINES, call=fed(lambda c: c(), step))
case("policies.batches.input:endpoint_of", text("/v1"), text("%2f"), text("/a"), text("?"))
case(
    "policies.batches.state:states_in",
    *JSONS,
    rep(b'{"id":"b","status":"completed","usage":{"total_tokens":1}},', b'{"data":[', b"{}]}"),
)
LISTS = [
    *JSONS,
    rep(b'{"id":"m","object":"model"},', b'{"object":"list","data":[', b"{}]}"),
    lambda n: b'{"data":[%b]}' % b",".join(b'{"id":"m%d"}' % i for i in range(n // 16)),
]
case("wire.model_list:ids_listed", *LISTS)
case("wire.model_list:entries_listed", *LISTS)
case("wire.model_list:changed_list", *LISTS, call=lambda f, body: f(body, [body], ["x"], lambda name: True))
NAMING = [
    *JSONS,
    rep(b'"model":"m",', b"{", b'"b":1}'),
    rep(b'{"model":"m"},', b'{"model":"a","tools":[', b"{}]}"),
    rep(b'"file_id":"file-1",', b"{", b'"b":1}'),
    rep(b'{"file_id":"file-1"},', b'{"input":[', b"{}]}"),
    rep(b'{"id":"x"},', b'{"id":"a","output":[', b"{}]}"),
    rep(b'{"type":"web_search"},', b'{"tools":[', b"{}]}"),
]


def outlined(function, body):
    return function(body, json.loads(body))


case("policies.authorize.named_models:models_in", *NAMING, call=outlined)
case("policies.authorize.named_models:unmeasured_param", *NAMING, call=outlined)
case("policies.authorize.named_models:top_level_models", *NAMING)
case(
    "policies.authorize.named_models:top_level_values", *NAMING, call=lambda f, body: f(body, "input_file_id")
)
case("wire.documents:maybe_only_object", *JSONS, rep(b"[", b"{},", b"{}]"))
case("wire.documents:as_one_line", rep(b"[", b'{"error":'), rep(b"\n", b'{"error":{}', b"}"))
case("policies.authorize.object_ids:ids_in_body", *NAMING)
case("policies.authorize.object_ids:ids_made", *NAMING)
case("wire.request_json:check_walk", rep(b"["), rep(b'"'), rep(b"\\"), rep(b'"a",', b"["), rep(b'\\"', b'"'))
case(
    "policies.authorize.object_ids:is_reference",
    text("a"),
    text("a["),
    text("[]"),
    text("file_ids"),
    text("1."),
)
case("policies.authorize.object_ids:filters_stored", *JSONS, call=lambda f, v: f("evals/{id}/runs", v))
case(
    "policies.authorize.object_ids:calls_in_query",
    rep(b"call_id=a&", b"/realtime?"),
    rep(b";", b"/realtime?"),
    rep(b"%", b"/realtime?call_id="),
)
case(
    "policies.authorize.object_ids:ids_in_field", text("a"), text("a,"), text("["), text(", "), text('{"id":')
)
case("policies.authorize.object_ids:references_in_body", *NAMING)
case("policies.authorize.object_ids:id_begun", *NAMING)
case("wire.json_members:iter_starts", *NAMING)
case("policies.routing.state_names:names_in", *NAMING, rep(b'"encrypted_content":"', b"{"))
case("policies.routing.state_names:encrypted_in", *NAMING, rep(b'"encrypted_content":"', b"{"))
case("policies.routing.state_names:digest", rep(b"a"))
case("policies.routing.session_text:beginning", *NAMING, rep(b'{"role":"system"},', b'{"messages":['))
case(
    "policies.routing.session_text:inner_text",
    *NAMING,
    call=lambda f, body: f(body, "metadata", "session_id"),
)
case(
    "policies.routing.missing_state:says_missing",
    *NAMING,
    rep(b"no such ", b'{"error":{"message":"', b'"}}'),
    call=lambda f, body: f(404, body, []),
)
case(
    "policies.authorize.object_ids:id_in_path",
    rep(b"/", b"/files"),
    rep(b"v1/", b"/"),
    rep(b"%2f", b"/files/"),
    rep(b"a", b"/files/"),
    rep(b";", b"/files/a"),
    rep(b"?", b"/files/a"),
    call=lambda f, target: f(target, "files/{id}"),
)
case("policies.authorize.object_ids:no_such", text("a"), call=lambda f, name: f(name, "files/{id}"))
case("policies.refusal_words:model_name", text("a"), text("\n"), text("'"))
case(
    "policies.refusal_words:model_words",
    lambda size: ["m" * size],
    lambda size: ["m"] * (size // 2),
    call=lambda f, models: f(models, models),
)
case("wire.request_json:parse_int", text("9"), text("-"))
case("wire.request_json:opened", *JSONS)
case("wire.request_json:is_costly", *JSONS)

# ---- the mock upstream


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

# ---- responses as they came

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


# ---- command.conversation: what the exchange log has kept of strangers' bodies

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

# ---- recorded answers

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


TINY, EMPTY = b"\x00\x81\x00\x00\x00\x00x", b"\x00\x80\x00\x00\x00\x00"
FRAMES = (
    rep(TINY, b"\x01" + TINY[1:]),
    rep(EMPTY, b"\x01" + EMPTY[1:]),
    rep(b"\x89\x80\x00\x00\x00\x00"),
    rep(b"\x81" + TINY[1:]),
    lambda size: b"\x81\xff" + size.to_bytes(8, "big") + bytes(4) + b"x" * size,
)
"""A client's: tiny and empty fragments, pings, messages of one byte, one long message."""


def unmasked(make):
    """Return the same as a server sends it, as far as the frames go."""
    return lambda size: (
        make(size).replace(b"\x81\x00\x00\x00\x00", b"\x01").replace(b"\x80\x00\x00\x00\x00", b"\x00")
    )


def framed(make, read):
    """Feed bytes in reads of 1000, and read what is whole."""

    def run(kind, data):
        reader = make(kind)
        for at in range(0, len(data), 1000):
            read(reader, data[at : at + 1000])

    return run


def read_frames(reader, data):
    reader.feed(data)
    while reader.next() is not None:
        pass


case("wire.websocket_messages:FrameReader", *FRAMES, call=framed(lambda kind: kind(True), read_frames))
case("wire.websocket_messages:ClientMessages", *FRAMES, call=framed(lambda kind: kind(1 << 30), read_frames))
case(
    "wire.websocket_messages:ServerMessages",
    *map(unmasked, FRAMES),
    call=framed(lambda kind: kind(1 << 30), lambda reader, data: reader.read(data)),
)
case("wire.websocket_messages:text_frame", rep(b"x"), rep(b"\xc3\xa9"))
case("wire.websocket_messages:close_frame", text("x"), text("\u00e9"), call=lambda f, value: f(1008, value))
TURNS = (
    *JSONS,
    rep(b'"type":"x",', b"{", b'"type":"response.create"}'),
    rep(b'"response":{"a":1},', b"{", b'"type":"response.create"}'),
    rep(b'"a":1,', b'{"type":"response.create","response":{', b'"b":1}}'),
    rep(b"\\u0061", b'{"type":"', b'"}'),
)
"""What turns may be, and bodies of all kinds."""
case("wire.websocket_events:may_matter", *TURNS)
case("wire.websocket_events:read_client_event", *TURNS)
case("wire.websocket_events:maybe_server_event", *TURNS)
case("wire.websocket_events:is_sound", *TURNS)


def asked_in_turn(function, value):
    from openai_proxy.wire.websocket_events import ClientEvent, stream_id_of

    event = ClientEvent(value, stream_id=value)
    stream_id_of(event)
    function(event, "model")


case("wire.websocket_events:parameters", *TURNS, call=asked_in_turn)
case("wire.websocket_events:stream_id_of", *TURNS, call=lambda f, value: f(_event_of(value)))
case("wire.websocket_events:refusal", *TURNS, call=lambda f, value: f(value, 429, {}, value))


def _event_of(value):
    from openai_proxy.wire.websocket_events import ClientEvent

    return ClientEvent(value, stream_id=value)
