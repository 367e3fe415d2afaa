#!/usr/bin/env python3
"""Measure what one event of a stream costs between the two sockets, and what each feature adds to it.

    .venv/bin/python scripts/event_costs.py [--write]

In process, without the sockets: the upstream's bytes, encrypted beforehand by
OpenSSL, go through our TLS, llhttp, the connection, the body filters and the
relay, into a list. Events are OpenAI's chunks of changing sizes, with
`obfuscation`. The time is this thread's CPU time, and of many passes the
quickest counts: another process on the same processor can only add to it.

`--write` puts the table into docs/explain/performance.md.
"""

from __future__ import annotations

import argparse
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import trustme
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from zope.interface import implementer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from changing import answer, event  # noqa: E402

from openai_proxy.downstream.relay import Relay  # noqa: E402
from openai_proxy.exchange.messages import BodyFilter, ProxyResponse  # noqa: E402
from openai_proxy.exchange.outcome import Outcome  # noqa: E402
from openai_proxy.exchange.record import Exchange  # noqa: E402
from openai_proxy.net.client_tls import VerifyingClient, client_context  # noqa: E402
from openai_proxy.net.origin import parse_origin  # noqa: E402
from openai_proxy.net.tls import TLSTransport  # noqa: E402
from openai_proxy.observe.exchange_log.capture import Capture  # noqa: E402
from openai_proxy.policies.think.filters import ThinkStreamFilter  # noqa: E402
from openai_proxy.policies.think.splitter import ThinkRule  # noqa: E402
from openai_proxy.policies.usage.answer_labels import AnswerLabels  # noqa: E402
from openai_proxy.policies.usage.filters import HideUsage, WatchUsage  # noqa: E402
from openai_proxy.policies.usage.later_errors import LaterErrors  # noqa: E402
from openai_proxy.policies.usage.meter import UsageMeter  # noqa: E402
from openai_proxy.policies.usage.note_errors import WatchErrors  # noqa: E402
from openai_proxy.upstream.answer_timer import UpstreamTimeouts  # noqa: E402
from openai_proxy.upstream.connection import UpstreamConnection  # noqa: E402
from openai_proxy.wire.first_events import FirstEvents  # noqa: E402

PAGE = ROOT / "docs" / "explain" / "performance.md"
BEGIN, END = "<!-- event costs -->", "<!-- /event costs -->"
EVENTS = 1000
TOGETHER = 100
"""Events between two looks at the clock."""
WAYS = {
    "plain, one a read": (False, 1),
    "plain, ten a read": (False, 10),
    "TLS, one a read": (True, 1),
    "TLS, ten a read": (True, 10),
}


@implementer(ITCPTransport)
class Socket:
    """The transport below: it takes written data."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.write = self.sent.append

    def take(self) -> bytes:
        data = b"".join(self.sent)
        self.sent.clear()
        return data

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: None


class Owner:
    """An agent without a pool."""

    work_clock = staticmethod(time.thread_time)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class Client:
    """A client's request, as far as a Relay uses it."""

    http11 = keep_alive = True
    is_head = False

    def __init__(self) -> None:
        self.exchange = Exchange(0.0, 0.0, "POST", "/v1/chat/completions")
        self.exchange.streaming = True
        self.outcome: Outcome | None = None

    def end_exchange(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def response_complete(self) -> None:
        """Do nothing: no request follows."""

    response_broken = set_last = response_complete


def _meter() -> UsageMeter:
    return UsageMeter(_ignore, labels=AnswerLabels(True, False, _ignore))


def _ignore(*_: object) -> None:
    """The receiver of the calls."""


def by_default(exchange: Exchange) -> list[BodyFilter]:
    return [WatchUsage(_meter()), WatchErrors(exchange, FirstEvents(b""), LaterErrors(b""))]


def hidden_usage(exchange: Exchange) -> list[BodyFilter]:
    return [HideUsage(_meter()), *by_default(exchange)[1:]]


def _thoughts() -> BodyFilter:
    return ThinkStreamFilter(ThinkRule("strip"))


def _log(exchange: Exchange) -> BodyFilter:
    return Capture(1 << 20).response_filter([(b"content-type", b"text/event-stream")])


SETS: dict[str, Callable[[Exchange], list[BodyFilter]]] = {
    "nothing looks at it": lambda exchange: [],
    "by default: usage is read, errors are noted": by_default,
    "usage asked for, and hidden from the client": hidden_usage,
    "by default, and think blocks are removed": lambda exchange: [*by_default(exchange), _thoughts()],
    "by default, and the exchange log": lambda exchange: [*by_default(exchange), _log(exchange)],
    "hidden usage, think removal and the exchange log": lambda exchange: [
        *hidden_usage(exchange),
        _thoughts(),
        _log(exchange),
    ],
}
"""Body filters in the order in which bytes pass them."""


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return an upstream's TLS context, and the client's, which trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "ca.pem")
        authority.cert_pem.write_to_path(str(file))
        trusted = ssl.PEM_cert_to_DER_cert(file.read_text())
    return server, client_context(trusted=trusted, trusts_system=False)


class Stream:
    """One stream, whose head has come and is relayed; `feed` takes what the upstream's socket brings."""

    def __init__(
        self, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None, filters: Callable[[Exchange], Any]
    ) -> None:
        scheme = "https" if tls else "http"
        key = (parse_origin(f"{scheme}://localhost:1"), b"")
        connection = UpstreamConnection(Owner(), key, UpstreamTimeouts(), time.monotonic)  # type: ignore[arg-type]
        below = Socket()
        self._server: ssl.SSLObject | None = None
        if tls is None:
            connection.makeConnection(below)  # type: ignore[arg-type]
            self.feed: Callable[[bytes], object] = connection.dataReceived
        else:
            transport = TLSTransport(connection, VerifyingClient(tls[1], "localhost"), _ignore)
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._server = tls[0].wrap_bio(self._incoming, self._outgoing, server_side=True)
            transport.makeConnection(below)  # type: ignore[arg-type]
            self.feed = transport.dataReceived
            for _ in range(3):
                self._incoming.write(below.take())
                try:
                    self._server.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                self.feed(self._outgoing.read())
        answered: Deferred[Any] = connection.send(b"GET / HTTP/1.1\r\n\r\n", None, False, False, 0.0, 0.0)
        heads: list[Any] = []
        answered.addCallback(heads.append)
        lines = [
            line
            for line in answer(1, False).partition(b"\r\n\r\n")[0].split(b"\r\n")
            if not line.startswith((b"Content-Length", b"Content-Type"))
        ]
        lines += [b"Content-Type: text/event-stream; charset=utf-8", b"Transfer-Encoding: chunked"]
        self.feed(self.encrypted(b"\r\n".join(lines) + b"\r\n\r\n"))
        client = Client()
        self.exchange = client.exchange
        head = heads[0]
        response = ProxyResponse(
            head.code, head.phrase, head.pairs, head.body, tuple(filters(client.exchange))
        )
        self.written: list[bytes] = []
        Relay(client, response, self.written.append, time.monotonic).start()  # type: ignore[arg-type]

    def encrypted(self, data: bytes) -> bytes:
        """Return the encrypted bytes of `data` from the upstream."""
        if self._server is None:
            return data
        self._server.write(data)
        return self._outgoing.read()


def event_us(tls: Any, together: int, filters: Callable[[Exchange], Any]) -> float:
    """Return the CPU microseconds of one event, of the quickest part of a stream."""
    stream = Stream(tls, filters)
    events = [event(number) for number in range(EVENTS)]
    chunks = [b"%x\r\n%b\r\n" % (len(each), each) for each in events]
    reads = [stream.encrypted(b"".join(chunks[at : at + together])) for at in range(0, EVENTS, together)]
    stream.written.clear()
    each_part = TOGETHER // together
    best = float("inf")
    for at in range(0, len(reads), each_part):
        part = reads[at : at + each_part]
        began = time.thread_time()
        for read in part:
            stream.feed(read)
        best = min(best, (time.thread_time() - began) / TOGETHER)
    if stream.exchange.response_bytes != sum(map(len, events)):
        raise SystemExit("an event was lost")
    return best * 1e6


def table(rounds: int) -> Iterable[str]:
    """Yield the lines of the table. Each round measures every figure once: all have their share of calm moments."""
    tls = contexts()
    best = {(name, way): float("inf") for name in SETS for way in WAYS}
    for _ in range(rounds):
        for name, way in best:
            secure, together = WAYS[way]
            found = event_us(tls if secure else None, together, SETS[name])
            best[name, way] = min(best[name, way], found)
    yield "| CPU µs for an event | " + " | ".join(WAYS) + " |"
    yield "|---" * (len(WAYS) + 1) + "|"
    for name in SETS:
        yield f"| {name} | " + " | ".join(f"{best[name, way]:.2f}" for way in WAYS) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--write", action="store_true", help="write the table into the documentation")
    parser.add_argument("--rounds", type=int, default=20, help="streams of 1,000 events for each figure")
    options = parser.parse_args()
    lines = []
    for line in table(options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        text = PAGE.read_text()
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text("\n".join([before + BEGIN, *lines, END]) + after)


if __name__ == "__main__":
    main()
