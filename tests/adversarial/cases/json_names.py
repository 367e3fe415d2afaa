"""Names and references that the bodies of requests and answers have in them."""

from __future__ import annotations

import json

from adversarial.cases.registry import JSONS, case, rep, text

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
