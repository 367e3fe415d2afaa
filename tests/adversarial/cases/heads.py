"""Heads of requests and responses: lines, targets, addresses, and the readers of whole messages."""

from __future__ import annotations

from adversarial.cases.registry import case, pairs, rep, text
from adversarial.meter import metered

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
for name in (
    "policies.cache.key:chosen_headers",
    "policies.cache.entry:stored_headers",
    "policies.cache.rules:parse_cache_control",
    "policies.routing.rules:repeats_by_itself",
    "wire.web_origins:page_marks",
):
    case(name, *HEADERS)
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
case("wire.request_line:has_line", *STARTS, rep(b"G / HTTP/1."), call=lambda f, v: f(v, b"G", b"/"))
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
