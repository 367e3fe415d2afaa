"""The upstream fails: before its head the client gets an error, after it never an end that looks complete."""

import contextlib
import socket
import ssl
import threading

import pytest
from world.client import Client, ask
from world.requests import chat, request
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually


def answering(data, how):
    """Send `data` and end the connection in the way `how` names; None leaves it open."""

    def script(call):
        call.read_body()
        call.send(data)
        if how == "reset":
            call.sock.recv(0)
            call.reset()
        elif how == "fin":
            call.finish()
        elif how == "fin without close_notify":
            call.finish_without_notice()

    return script


COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = CHUNKED + b"9\r\ndata: x\n\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: x\n\n"
TRUNCATIONS = {
    "counted, fin": (COUNTED, "fin"),
    "counted, reset": (COUNTED, "reset"),
    "chunked, fin": (EVENT, "fin"),
    "chunked, reset": (EVENT, "reset"),
    "chunked, fin inside a chunk": (EVENT + b"9\r\ndata", "fin"),
    "chunked, fin inside a size": (EVENT + b"9", "fin"),
    "chunked, fin inside the last chunk": (EVENT + b"0\r\n", "fin"),
    "no chunk at all, fin": (CHUNKED, "fin"),
    "bad chunk size": (EVENT + b"zz\r\n", None),
    "negative chunk size": (EVENT + b"-1\r\n", None),
    "chunk longer than said": (EVENT + b"3\r\nabcdef\r\n0\r\n\r\n", None),
    "huge chunk size": (EVENT + b"fffffffffffffffff\r\nabc\r\n", None),
    "until close, reset": (UNTIL_CLOSE, "reset"),
}


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("name", TRUNCATIONS)
def test_truncated_body_is_a_broken_transfer(world, name, version):
    """The client sees a reset: no final chunk, no orderly end, whatever HTTP it speaks."""
    world.upstream.script = answering(*TRUNCATIONS[name])
    answer = ask(world.port, chat(version=version))
    assert answer.status in (200, 502)  # 502 if nothing of a body had come yet
    if answer.status == 200:
        assert (answer.whole, answer.end) == (False, "reset")
    else:
        assert answer.error["type"] == "upstream_error"
    assert ask(world.port, request(target=b"/v1/models/next")).status in (200, 502)


def test_bytes_before_a_truncation_arrive(world):
    """What the upstream did send is the client's, as far as it came."""

    def script(call):
        call.read_body()
        call.send(EVENT)
        seen.wait(PATIENCE_S)
        call.reset()

    seen = threading.Event()
    world.upstream.script = script
    with Client(world.port) as client:
        client.send(chat())
        client.read_until(b"data: x\n\n")
        seen.set()
        assert b"0\r\n\r\n" not in client.rest()
        assert client.end == "reset"


@pytest.fixture
def tls_pair(start, tmp_path, authority):
    """A daemon with a TLS upstream."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return start(Upstream(context), env={"UPSTREAM__CA_FILE": str(tmp_path / "ca.pem")})


@pytest.mark.parametrize("how", ["fin without close_notify", "reset"])
@pytest.mark.parametrize("data", [COUNTED, EVENT, UNTIL_CLOSE], ids=["counted", "chunked", "until close"])
def test_tls_body_without_close_notify_is_truncated(tls_pair, data, how):
    """Anybody on the way can cut a TCP connection; only close_notify is the upstream's own end."""
    tls_pair.upstream.begin(answering(data, how))
    answer = ask(tls_pair.port, chat())
    assert (answer.status, answer.whole, answer.end) == (200, False, "reset")


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("name", ["counted, fin", "chunked, fin", "until close, reset"])
def test_truncated_body_over_tls_has_no_close_notify(start, tls_port, trusting, name, version):
    """It was sent right before the reset: to an HTTP/1.0 client over TLS the body was whole."""
    world = start(ports=[tls_port])
    world.upstream.begin(answering(*TRUNCATIONS[name]))
    with Client(world.port, context=trusting) as client:
        client.sock.suppress_ragged_eofs = False
        client.send(chat(version=version))
        answer = client.response()
    assert (answer.status, answer.whole, answer.end) == (200, False, "reset")


def test_tls_body_with_close_notify_is_whole(tls_pair):
    """A close-delimited body over TLS ends with the upstream's word for it."""
    tls_pair.upstream.begin(answering(UNTIL_CLOSE, "fin"))
    answer = ask(tls_pair.port, chat())
    assert (answer.status, answer.body, answer.whole) == (200, b"data: x\n\n", True)


BAD_HEADS = {
    "not http": b"SSH-2.0-OpenSSH\r\n\r\n",
    "http/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "http/0.9": b"<html></html>",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 0": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nfoo\r\nContent-Length: 0\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
    "nul in value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "cr in value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length list": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"v" * 300_000 + b"\r\n\r\n",
    "endless interim": b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 500,
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_nonsense_from_the_upstream_is_a_502(world, name):
    """What is no HTTP answer never reaches the client, and spoils no later one."""
    world.upstream.script = answering(BAD_HEADS[name], None)
    answer = ask(world.port, chat())
    assert (answer.status, answer.error["code"]) == (502, "upstream_protocol_error")
    world.upstream.begin()
    assert ask(world.port, request()).status == 200


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nX: y\r\n"], ids=["nothing", "half a head"])
def test_upstream_that_leaves_before_its_head_is_a_502(world, data, how):
    """No answer is an error in the API's own form."""
    world.upstream.script = answering(data, how)
    answer = ask(world.port, chat())
    assert answer.status == 502
    assert answer.error["type"] == "upstream_error"
    assert answer.error["code"] in ("upstream_unreachable", "upstream_protocol_error")


def test_upstream_that_does_not_listen_is_a_502(start):
    """A closed port is reported as such, without its address."""
    upstream = Upstream()
    world = start(upstream)
    upstream.close()
    answer = ask(world.port, chat())
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    assert str(upstream.port).encode() not in answer.body


def test_late_upstream_is_a_504(start):
    """Too late a first byte is a timeout, and the connection is cut."""
    gone = []
    world = start(env={"TIMEOUT_S__FIRST_BYTE": "0.5"})

    def script(call):
        call.read_body()
        gone.append(call.seconds_until_gone())
        call.finish()

    world.upstream.begin(script)
    answer = ask(world.port, chat())
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert eventually(lambda: gone)
    assert gone[0] is not None


def test_silent_stream_is_cut(start):
    """A stream that says nothing for too long is broken off, not ended."""
    world = start(env={"TIMEOUT_S__IDLE": "0.5"})
    world.upstream.begin(answering(EVENT, None))
    answer = ask(world.port, chat())
    assert (answer.status, answer.whole, answer.end) == (200, False, "reset")


SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def test_surplus_bytes_are_nobodys_answer(world):
    """Bytes after an answer never become the next caller's."""
    world.upstream.script = answering(SURPLUS, None)
    with Client(world.port) as client:
        client.send(chat())
        assert client.response().body == b"ok"
        world.upstream.begin()
        client.send(request(target=b"/v1/models/mine"))
        assert b"/v1/models/mine" in client.response().body


def test_idle_connection_that_the_upstream_closed_is_not_a_clients_problem(world):
    """A pooled connection that dies between two requests is replaced without a word."""
    assert ask(world.port, request()).status == 200
    for sock in world.upstream.sockets:
        with contextlib.suppress(OSError):  # some are closed already, or are being closed
            sock.shutdown(socket.SHUT_RDWR)
    assert ask(world.port, request()).status in (200, 502)
    assert ask(world.port, request()).status == 200
