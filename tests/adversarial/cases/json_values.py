"""JSON values and members."""

from __future__ import annotations

import json

from adversarial.cases.registry import DOCUMENTS, JSONS, STREAMS, case, choices, document_of, fed, rep, text
from adversarial.meter import metered

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
