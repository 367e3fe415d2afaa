"""Labels of answers, forms, batches and lists of models."""

from __future__ import annotations

from adversarial.cases.registry import JSONS, STREAMS, case, fed, rep, text


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
