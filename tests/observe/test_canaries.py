"""Secrets in every place that a stranger can fill: none is ever written."""

import fakes
from twisted.internet.task import Clock

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.observe.exchange_log.capture import Capture
from openai_proxy.observe.exchange_log.line import exchange_line
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.lines.encode import json_line
from openai_proxy.observe.lines.record import metadata, text_line
from openai_proxy.observe.metrics.prometheus import PrometheusObserver

NAMES = [
    "authorization api-key x-api-key cookie set-cookie proxy-authorization x-auth-token x-forwarded-for referer",
    "origin location www-authenticate x-goog-api-key x-amz-security-token sec-websocket-protocol user-agent",
    "content-type accept via host etag x-request-id openai-organization x-stainless-os server x-custom-header",
]
CANARIES = [f"sk-CANARY{n:03d}abcdefgh" for n in range(200)]


def test_no_canary_is_written():
    """Neither headers nor path nor model bring a key into any output; an echo in a body neither."""
    names = [name.encode() for line in NAMES for name in line.split()]
    rest = iter(CANARIES)
    exchange = fakes.exchange(
        started=1.0,
        timestamp=1700000000.0,
        path=f"/v1/files/{next(rest)}?api_key={next(rest)}&x={next(rest)}",
        model=next(rest),
    )
    exchange.request_headers = [(name, f"Bearer {next(rest)}".encode()) for name in names * 4]
    exchange.response_headers = [(name, f"a={next(rest)}; b".encode()) for name in names * 3]
    exchange.response_headers.append((b"content-type", b"application/json"))
    exchange.request_body = b'{"model":"m"}'
    exchange.usage = Usage(1, 2)
    exchange.capture = Capture(10_000)
    credential = exchange.request_headers[0][1].removeprefix(b"Bearer ")
    exchange.capture.response.feed(b'{"error":{"message":"Incorrect API key provided: %b"}}' % credential)
    exchange.end(Outcome.COMPLETE, 2.0)
    metrics = PrometheusObserver(ObserverContext(Clock()))
    metrics({"exchange": exchange})
    written = [
        exchange_line(exchange, 10_000),
        text_line(exchange).encode(),
        json_line(metadata(exchange)),
        metrics.render(b"")[1],
    ]
    assert [text for text in written if b"CANARY" in text] == []
    assert b"Incorrect API key provided: [redacted]" in written[0]
