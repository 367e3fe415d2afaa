"""The client leaves: the upstream's connection is dead within a second, and nobody computes for nobody."""

import contextlib
import ssl
import threading
import time

import pytest
import trustme
from world.client import Client
from world.requests import chat, request
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually

LIMIT_S = 10.0
"""A second is promised; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def tls_peers(authority):
    """Contexts for an upstream's side and a client's side, and the CA's file."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    return server


def never_answers(gone):
    def script(call):
        call.read_body()
        gone.append(call.seconds_until_gone())
        call.finish()

    return script


def streams_forever(gone):
    def script(call):
        call.read_body()
        call.start_stream()
        start = None
        with contextlib.suppress(OSError):
            while True:
                call.chunk(b"data: x\n\n")
                time.sleep(0.01)
                start = time.monotonic()
        gone.append(time.monotonic() - start)
        call.closed = True

    return script


def streams_once(gone):
    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(b"data: x\n\n")
        gone.append(call.seconds_until_gone())
        call.finish()

    return script


def left(client, how):
    if how == "reset":
        client.reset()
    else:
        client.close()


HOW = pytest.mark.parametrize("how", ["fin", "reset"])


@HOW
def test_client_leaves_before_the_head(world, how):
    """A question nobody waits for any more is withdrawn."""
    gone = []
    world.upstream.begin(never_answers(gone))
    client = Client(world.port)
    client.send(chat())
    assert eventually(lambda: world.upstream.calls and world.upstream.calls[0].whole)
    left(client, how)
    start = time.monotonic()
    assert eventually(lambda: gone)
    assert time.monotonic() - start < LIMIT_S


@HOW
@pytest.mark.parametrize("script", [streams_once, streams_forever])
def test_client_leaves_in_the_middle_of_a_stream(world, how, script):
    """A stream nobody reads any more is cut, silent or not."""
    gone = []
    world.upstream.begin(script(gone))
    client = Client(world.port)
    client.send(chat())
    client.read_until(b"data: x\n\n")
    left(client, how)
    start = time.monotonic()
    assert eventually(lambda: gone)
    assert time.monotonic() - start < LIMIT_S


@HOW
def test_client_leaves_in_the_middle_of_an_upload(world, how):
    """The upstream never takes half an upload for a whole one."""
    client = Client(world.port)
    client.send(request(b"POST", b"/v1/files", headers=b"Content-Length: 100000\r\n") + b"x" * 1000)
    assert eventually(lambda: world.upstream.alive and world.upstream.calls)
    start = time.monotonic()
    left(client, how)
    call = world.upstream.calls[0]
    assert eventually(lambda: call.sock.fileno() == -1)
    assert time.monotonic() - start < LIMIT_S
    assert not call.whole


def test_client_leaves_while_the_upstream_does_not_read(start):
    """Bytes that wait to be sent do not keep the exchange: it ends without them."""
    done = threading.Event()
    world = start(Upstream(receive_buffer=4096))
    world.upstream.begin(lambda call: done.wait(PATIENCE_S) and call.finish())
    client = Client(world.port)
    prompt = b"x" * 8_000_000
    client.send(chat(b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % prompt))
    assert eventually(lambda: world.upstream.calls)
    client.close()
    assert eventually(lambda: "client_gone" in world.daemon.log, LIMIT_S)
    done.set()


@pytest.mark.parametrize("script", [never_answers, streams_once, streams_forever])
def test_client_leaves_over_tls(start, tmp_path, authority, tls_peers, tls_port, trusting, script):
    """TLS on both sides changes nothing: the connection is cut, not left to a polite goodbye."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    gone = []
    upstream = Upstream(tls_peers)
    upstream.begin(script(gone))
    world = start(
        upstream,
        ports=[tls_port],
        env={"UPSTREAM__CA_FILE": str(tmp_path / "ca.pem")},
    )
    client = Client(world.port, context=trusting)
    client.send(chat())
    assert eventually(lambda: upstream.calls and upstream.calls[0].whole)
    if script is not never_answers:
        client.read_until(b"data: x\n\n")
    client.close()
    started = time.monotonic()
    assert eventually(lambda: gone)
    assert time.monotonic() - started < LIMIT_S


def test_client_leaves_after_a_pipeline(world):
    """Requests waiting for the current one neither hide the leaving nor go up."""
    gone = []
    world.upstream.begin(never_answers(gone))
    client = Client(world.port)
    client.send(chat() + request(target=b"/v1/models/second") * 50)
    assert eventually(lambda: world.upstream.calls and world.upstream.calls[0].whole)
    client.reset()
    started = time.monotonic()
    assert eventually(lambda: gone)
    assert time.monotonic() - started < LIMIT_S
    assert len(world.upstream.calls) == 1


def test_untrusted_upstream_is_not_talked_to(start, tls_peers):
    """A certificate that nobody vouches for is a 502, before any byte of the request."""
    world = start(Upstream(tls_peers))
    with Client(world.port) as client:
        client.send(chat())
        answer = client.response()
    assert (answer.status, answer.error["code"]) == (502, "upstream_tls_error")
    assert world.upstream.calls == []


def test_upstream_with_another_name_is_not_talked_to(start, tmp_path):
    """A certificate of somebody else is a 502, although its authority is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.test").configure_cert(context)
    world = start(Upstream(context), env={"UPSTREAM__CA_FILE": str(tmp_path / "ca.pem")})
    with Client(world.port) as client:
        client.send(chat())
        answer = client.response()
    assert (answer.status, answer.error["code"]) == (502, "upstream_tls_error")
    assert world.upstream.calls == []
