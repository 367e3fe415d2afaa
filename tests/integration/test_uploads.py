"""Bodies on their way up: Expect, early answers, back-pressure, limits, constant memory."""

import contextlib
import hashlib
import threading
import time

import pytest
from world.client import Client, ask
from world.requests import chat, request
from world.upstream import PeerGone, Upstream
from world.waiting import PATIENCE_S, eventually

MIB = 1 << 20


def upload(headers=b"", target=b"/v1/files"):
    return request(b"POST", target, headers=b"Content-Type: application/octet-stream\r\n" + headers)


def test_expect_is_answered_once_the_request_is_admitted(world):
    """A client that asks first gets its 100, then its answer."""
    with Client(world.port) as client:
        client.send(upload(b"Expect: 100-continue\r\nContent-Length: 5\r\n"))
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert client.response().status == 200
    assert world.upstream.calls[0].body == b"hello"


def test_expect_on_json_is_answered(world):
    """A body that is read whole is asked for in the same way."""
    with Client(world.port) as client:
        head, _, body = chat(headers=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert client.response().status == 200
    assert world.upstream.calls[0].body == body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /v1/files HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 401),
        (upload(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"/nothing"), 404),
        (upload(b"Expect: 100-continue\r\nContent-Length: 5\r\n").replace(b"POST", b"BREW"), 405),
    ],
)
def test_expect_of_a_refused_request_gets_the_refusal(world, raw, status):
    """Who is refused is not asked for a body."""
    with Client(world.port) as client:
        client.send(raw)
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 %d " % status)
    assert world.upstream.calls == []


def test_no_continue_where_the_body_came_already(world):
    """A client that did not wait gets no 100 Continue."""
    with Client(world.port) as client:
        client.send(upload(b"Expect: 100-continue\r\nContent-Length: 5\r\n") + b"hello")
        assert client.read_until(b"\r\n") == b"HTTP/1.1 200 OK\r\n"


def test_early_answer_reaches_a_client_that_still_sends(world):
    """The upstream's refusal of an upload is readable although the upload never ends."""

    def script(call):
        call.reply_json({"error": "too large"}, b"413 Payload Too Large")
        with contextlib.suppress(PeerGone):
            while True:
                call.receive()
        call.closed = True

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(upload(b"Content-Length: %d\r\n" % (64 * MIB)))
        for _ in range(8):
            client.send(b"x" * MIB)
        answer = client.response()
    assert (answer.status, answer.body) == (413, b'{"error": "too large"}')


def test_early_refusal_of_ours_is_readable(world):
    """A client without a key reads its 401 although it sends on for a while."""
    with Client(world.port) as client:
        client.send(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (16 * MIB))
        for _ in range(16):
            client.send(b"x" * MIB)
        answer = client.response()
        assert (answer.status, answer.error["code"]) == (401, "missing_api_key")
        assert client.rest() == b""
        assert client.end == "fin"


def test_early_answer_streams_while_the_upload_still_runs(world):
    """Both directions move at once: no side waits for the other's end."""

    def script(call):
        call.start_stream()
        for _ in range(5):
            call.chunk(call.receive())
        call.end_stream()
        call.finish()

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(upload(b"Content-Length: 500\r\n"))
        client.read_until(b"\r\n\r\n")
        for number in range(5):
            client.send(b"part %d" % number)
            client.read_until(b"part %d" % number)


def test_large_body_is_whole_on_the_other_side(world):
    """Sixteen MiB through a paused and resumed pipe keep their bytes and their order."""
    block = hashlib.sha256(b"upload").digest() * 4096
    digests = []

    def script(call):
        call.whole = True
        digest, left = hashlib.sha256(), int(call.header(b"content-length"))
        while left:
            data = call.receive()
            left -= len(data)
            digest.update(data)
            if left % 7 == 0:
                time.sleep(0.001)
        digests.append(digest.hexdigest())
        call.reply(b"ok")

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(upload(b"Content-Length: %d\r\n" % (len(block) * 128)))
        for _ in range(128):
            client.send(block)
        assert client.response().body == b"ok"
    assert digests == [hashlib.sha256(block * 128).hexdigest()]


def test_stalled_upstream_holds_the_client_back(start):
    """An upload that nobody takes stays with its client, not in our memory."""
    released = threading.Event()
    world = start(Upstream(receive_buffer=4096))
    ask(world.port, request())
    world.upstream.begin(lambda call: released.wait(PATIENCE_S) and call.finish())
    before = world.daemon.resident_bytes()
    with Client(world.port) as client:
        client.send(upload(b"Content-Length: %d\r\n" % (512 * MIB)))
        client.sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            while True:
                client.sock.send(b"x" * MIB)
        assert world.daemon.resident_bytes() - before < 8 * MIB
        released.set()


def test_stalled_client_holds_the_upstream_back(start):
    """An answer that nobody reads stays with the upstream, not in our memory."""
    sent = []
    world = start()
    ask(world.port, request())

    def script(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (512 * MIB))
        call.sock.settimeout(0.7)
        total = 0
        with contextlib.suppress(OSError):
            while True:
                total += call.sock.send(b"x" * MIB)
        sent.append(total)
        call.finish()

    world.upstream.begin(script)
    before = world.daemon.resident_bytes()
    with Client(world.port, receive_buffer=65536) as client:
        client.send(request())
        assert eventually(lambda: sent)
        assert world.daemon.resident_bytes() - before < 8 * MIB
        assert sent[0] < 64 * MIB  # what the kernel's own buffers take


@pytest.mark.slow
def test_download_of_any_size_passes_in_constant_memory(start):
    """Half a GiB leaves no trace in memory."""
    block = hashlib.sha256(b"download").digest() * 8192
    count = 2048

    def script(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(block) * count))
        for _ in range(count):
            call.send(block)

    world = start()
    ask(world.port, request())
    before = world.daemon.resident_bytes()
    world.upstream.begin(script)
    received = 0
    with Client(world.port) as client:
        client.send(request())
        client.read_until(b"\r\n\r\n")
        received = len(client.buffer)
        while received < len(block) * count:
            received += len(client.sock.recv(MIB))
    assert received == len(block) * count
    assert world.daemon.resident_bytes() - before < 8 * MIB


def test_body_above_the_limit_is_refused(start):
    """Announced or counted: one byte too many is a 413 that the client can read."""
    world = start(env={"LIMITS__BODY_BYTES": "1000", "LIMITS__JSON_BODY_BYTES": "500"})
    for raw in (
        upload(b"Content-Length: 1001\r\n"),
        upload(b"Transfer-Encoding: chunked\r\n") + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        chat(b" " * 501),
        request(b"POST", b"/v1/chat/completions", headers=b"Transfer-Encoding: chunked\r\n")
        + b"1f5\r\n"
        + b" " * 501
        + b"\r\n0\r\n\r\n",
    ):
        answer = ask(world.port, raw)
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert not any(call.whole for call in world.upstream.calls)
    assert ask(world.port, upload(b"Content-Length: 1000\r\n") + b"x" * 1000).status == 200


@pytest.mark.slow
def test_crawling_upload_is_ended(start):
    """A body that comes slower than the least allowed rate gets a 408 after its grace."""
    world = start(env={"LIMITS__BODY_MIN_BYTES_PER_S": "1000"})
    with Client(world.port) as client:
        client.send(upload(b"Content-Length: 100000\r\n"))
        stop = threading.Event()

        def crawl():
            while not stop.wait(0.3) and client.send(b"x"):
                pass

        crawler = threading.Thread(target=crawl)
        crawler.start()
        answer = client.response()
        stop.set()
        crawler.join()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")


def test_half_close_counts_as_leaving(world):
    """Clients leave with a FIN: a client that would still read looks like one that is gone."""
    gone = []

    def script(call):
        call.read_body()
        gone.append(call.seconds_until_gone())
        call.finish()

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(chat())
        assert eventually(lambda: world.upstream.calls)
        client.half_close()
        assert client.response().status is None
        assert eventually(lambda: gone)
