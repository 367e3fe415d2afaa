"""Clients that read nothing: what is decoded or changed for them is bounded as what passes untouched is."""

import gzip
import json
import ssl
import threading
import time
import zlib

import pytest
from world.client import Client
from world.requests import chat
from world.waiting import PATIENCE_S, eventually

MIB = 1024 * 1024
CLIENTS = 8
EACH_BYTES = 256 * 1024
STREAM = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
EVENT = (
    b"data: %b\n\n"
    % json.dumps(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "word " * 200}}]}
    ).encode()
)
PACK = {b"gzip": gzip.compress, b"deflate": zlib.compress}
SETTINGS = {
    "think removal": {"THINK__MODE": "strip"},
    "thoughts moved": {"THINK__MODE": "reasoning_content"},
    "usage and log": {
        "OBSERVERS": "console exchange-log:dir=logs",
        "LIMITS__EXCHANGE_LOG_BODY_BYTES": "1000",
        "THINK__MODE": "strip",
        "RATE_LIMIT__TOKENS_PER_MINUTE": "100000000",
    },
}


@pytest.fixture
def wait_until_still():
    """Wait until the daemon's memory has not grown for a second; return it."""

    def wait(daemon):
        seen, since = daemon.resident_bytes(), time.monotonic()

        def still():
            nonlocal seen, since
            now = daemon.resident_bytes()
            if now > seen + 64 * 1024:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > 1.0

        assert eventually(still)
        return daemon.resident_bytes()

    return wait


@pytest.mark.parametrize(
    ("setting", "coding", "tls"),
    [
        ("think removal", b"gzip", False),
        ("think removal", b"gzip", True),
        ("thoughts moved", b"deflate", False),
        ("usage and log", b"gzip", False),
    ],
)
def test_a_decoded_stream_waits_for_its_client(start, wait_until_still, request, setting, coding, tls):
    """A read of 64 KiB may hold 50 MiB: it is unpacked as the client takes it."""
    options = {}
    if tls:
        directory, context = request.getfixturevalue("listener_tls")
        port = f"ssl:0:interface=127.0.0.1:privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        options = {"ports": (port,)}
    else:
        context = None
    world = start(env={**SETTINGS[setting], "LIMITS__WRITE_STALL_S": "120"}, **options)

    packed = PACK[coding](EVENT * (48 * MIB // len(EVENT)), 1)
    together = threading.Barrier(CLIENTS)

    def script(call):
        call.read_body()
        if len(world.upstream.calls) > 1:
            together.wait(PATIENCE_S)  # so that the daemon serves them in one batch
        call.reply(packed, [(b"Content-Type", b"text/event-stream"), (b"Content-Encoding", coding)])

    def connect():
        return Client(world.port, context=context, receive_buffer=4096)

    world.upstream.begin(script)
    with connect() as client:  # whatever is loaded at the first request is
        client.send(chat(STREAM))
        client.sock.recv(100)
        before = wait_until_still(world.daemon)
    clients = [connect() for _ in range(CLIENTS)]
    try:
        for client in clients:
            client.send(chat(STREAM))
        for client in clients:
            assert client.sock.recv(100).startswith(b"HTTP/1.1 200")
        grown = wait_until_still(world.daemon) - before
    finally:
        for client in clients:
            client.close()
    assert grown < CLIENTS * 4 * EACH_BYTES, f"{grown / MIB:.1f} MiB for {CLIENTS} clients"


@pytest.fixture
def listener_tls(tmp_path):
    """Return a directory with `key.pem` and `cert.pem`, and a client's context that trusts them."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return tmp_path, context
