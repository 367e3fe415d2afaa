"""An exchange is freed when it ends: nothing of it waits, bodies and all, for the garbage collector.

Through the composed daemon, in memory. The collector runs seldom
(service.py), so what it had to free would be there for hundreds of exchanges.
"""

import gc
import gzip
from collections import Counter
from types import CoroutineType

import pytest
from fakes import Transport
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.daemon.serving import Serving
from openai_proxy.settings import load_settings

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
ASK = b'{"model":"m","messages":[],"stream":%b,"seed":%d}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
ANSWER = b'{"choices":[{"message":{"content":"<think>a</think>b"}}],"usage":{"prompt_tokens":1}}'
STREAMED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Daemon:
    """One configuration's daemon, its client's and its upstream's connection."""

    def __init__(self, tmp_path, settings):
        self.reactor = MemoryReactorClock()
        (tmp_path / "proxy.toml").write_text(
            f'upstream.base_url = "http://127.0.0.1:1/v1"\n{settings}'.replace("DIRECTORY", str(tmp_path))
        )
        self.serving = Serving(self.reactor, load_settings({"config": "proxy.toml"}, {}, tmp_path), None)
        self.serving.start()
        self.asked = 0

    def ask(self, stream=False):
        """Let a client ask; returns its connection and that of the upstream."""
        self.asked += 1
        body = ASK % (b"true" if stream else b"false", self.asked)
        client = self.serving.site.buildProtocol(None)
        client.makeConnection(Transport())
        client.dataReceived(HEAD % len(body) + body)
        upstream = self.reactor.tcpClients.pop()[2].buildProtocol(None)
        upstream.makeConnection(Transport())
        return client, upstream

    def leave(self, *connections, how=ConnectionDone):
        for connection in connections:
            connection.transport.protocol = connection.transport.producer = None
            connection.connectionLost(Failure(how()))
            connection.transport = None
        self.reactor.advance(0)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def answered(daemon, body, *headers):
    client, upstream = daemon.ask()
    upstream.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + b"".join(headers))
    upstream.dataReceived(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert b"200 OK" in client.transport.value()
    daemon.leave(client, upstream)


def plain(daemon):
    answered(daemon, ANSWER)


def compressed(daemon):
    answered(daemon, gzip.compress(ANSWER), b"Content-Encoding: gzip\r\n")


def streamed(daemon):
    client, upstream = daemon.ask(stream=True)
    for data in (STREAMED, *(chunk(EVENT % text) for text in (b"<think>a", b"</think>b"))):
        upstream.dataReceived(data)
    upstream.dataReceived(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    assert client.transport.value().endswith(b"0\r\n\r\n")
    daemon.leave(client, upstream)


def left_by_the_client(daemon):
    client, upstream = daemon.ask(stream=True)
    upstream.dataReceived(STREAMED + chunk(EVENT % b"a"))
    daemon.leave(client, upstream, how=ConnectionLost)


def left_by_the_upstream(daemon):
    client, upstream = daemon.ask(stream=True)
    upstream.dataReceived(STREAMED + chunk(EVENT % b"a"))
    daemon.leave(upstream, client, how=ConnectionLost)


def is_ours(kind):
    return kind.__module__.startswith("openai_proxy") or kind is CoroutineType


@pytest.mark.parametrize(
    "exchange",
    [plain, compressed, streamed, left_by_the_client, left_by_the_upstream],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(
    "settings",
    [
        'observers = ["none"]',
        'observers = ["none"]\nthink.mode = "strip"',
        'observers = ["none"]\ncache = { url = "memory:", rules = [{ endpoint = "chat/completions", condition = "always" }] }',
        'observers = ["none", "exchange-log:dir=DIRECTORY/logs"]',
    ],
    ids=["bare", "think", "cache", "exchange log"],
)
def test_an_ended_exchange_leaves_nothing_to_the_collector(exchange, settings, tmp_path):
    """No request, response, relay or body is a part of a cycle."""
    gc.freeze()  # what other tests have left is no business of this one, and slow to walk through
    try:
        daemon = Daemon(tmp_path, settings)
        for _ in range(3):
            exchange(daemon)  # what is made once is made
        # what has a finalizer goes only after that has run, in a later round
        for _ in range(5):
            if not gc.collect():
                break
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        exchange(daemon)
        gc.collect()
        left = Counter(type(each).__qualname__ for each in gc.garbage if is_ours(type(each)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()
    assert not left
