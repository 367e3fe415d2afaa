"""The recipes for nginx and Caddy, each run by the real server in front of a real daemon."""

import hashlib
import socket
import ssl
import threading

import pytest
import trustme
from websockets.sync.client import connect
from world.client import Client, ask
from world.daemon import Daemon
from world.fronts import Caddy, Nginx, environment_of
from world.requests import KEY, chat, request
from world.scripts import HeldStream
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually

MIB = 1 << 20


class Fronted:
    """A front, the daemon behind it, and the daemon's upstream."""

    def __init__(self, front, daemon, upstream, context):
        self.front, self.daemon, self.upstream, self.context = front, daemon, upstream, context

    def client(self):
        return Client(self.front.port, context=self.context)

    def ask(self, raw):
        with self.client() as client:
            client.send(raw)
            return client.response()


@pytest.fixture(scope="module", params=[Nginx, Caddy], ids=["nginx", "caddy"])
def _fronted(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param.program)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    files = directory / "chain.pem", directory / "key.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    upstream = Upstream()
    daemon = Daemon(directory, upstream.url, env=environment_of(request.param.recipe))
    front = request.param(directory, files, daemon.port)
    try:
        front.start()
        yield Fronted(front, daemon, upstream, context)
    finally:
        front.stop()
        daemon.stop()
        upstream.close()
    assert daemon.defects == []


@pytest.fixture
def fronted(_fronted):
    """Share a front between tests; its upstream echoes and has not been asked."""
    _fronted.upstream.begin()
    yield _fronted
    assert _fronted.upstream.errors == []


def test_what_the_upstream_answers_arrives_as_it_is(fronted):
    """Status, bytes and end-to-end headers: nothing is unpacked, renamed, added or obeyed on the way."""
    body = b'{"odd":  "bytes",\r\n "as": "sent"}' * 100
    headers = [
        (b"Server", b"theirs"),
        (b"Date", b"Mon, 01 Jan 2001 00:00:00 GMT"),
        (b"Content-Type", b"application/json"),
        (b"x-request-id", b"req_1"),
        (b"X-Accel-Redirect", b"/metrics"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]

    def script(call):
        call.read_body()
        call.reply(body, headers, b"418 I'm a teapot")

    fronted.upstream.script = script
    answer = fronted.ask(chat(headers=b"X-Forwarded-For: 203.0.113.9\r\n"))
    assert (answer.status, answer.body, answer.whole) == (418, body, True)
    came = [(name.lower(), value) for name, value in answer.headers]
    assert [(name, value) for name, value in headers if (name.lower(), value) not in came] == []
    (call,) = fronted.upstream.calls
    assert call.header(b"authorization") == b"Bearer " + KEY.encode()
    forwarded = [name for name, _ in call.headers if name.lower().startswith((b"x-forwarded", b"x-real"))]
    assert (forwarded, call.header(b"accept-encoding")) == ([], None)


def test_the_target_goes_on_byte_for_byte(fronted):
    """Percent-encoding, a query and a trailing slash are the client's."""
    fronted.ask(request(target=b"/v1/models/ft%3Agpt%2F4o%3Aorg/?a=%20b&c=d+e"))
    assert fronted.upstream.calls[0].target == b"/v1/models/ft%3Agpt%2F4o%3Aorg/?a=%20b&c=d+e"


def test_an_event_arrives_before_the_next_is_made(fronted):
    """No buffer between the model and the client."""
    fronted.upstream.script = script = HeldStream()
    with fronted.client() as client:
        client.send(chat())
        client.read_until(b"data: first\n\n")
        script.finish.set()
        assert client.read_until(b"data: last\n\n")


@pytest.mark.parametrize("raw", [chat(), request()], ids=["POST", "GET"])
def test_a_client_that_leaves_stops_the_model(fronted, raw):
    """The upstream's connection is aborted, so that nothing is generated for nobody."""
    gone = threading.Event()

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(b"data: first\n\n")
        if call.seconds_until_gone() is not None:
            gone.set()
        call.closed = True

    fronted.upstream.script = script
    with fronted.client() as client:
        client.send(raw)
        client.read_until(b"data: first\n\n")
    assert gone.wait(PATIENCE_S)


def test_what_was_cut_off_never_looks_complete(fronted):
    """The upstream dies in the middle of a stream: the client gets no final chunk, unless the front is known to add it."""

    def script(call):
        call.read_body()
        call.start_stream()
        call.chunk(b"data: first\n\n")
        call.finish()

    fronted.upstream.script = script
    answer = fronted.ask(chat())
    assert (answer.status, answer.whole) == (200, fronted.front.hides_cuts)


def test_an_upload_has_no_limit_and_streams(fronted):
    """48 MiB, of which the first part is at the upstream before the last has been sent."""
    came = threading.Event()
    digest = hashlib.sha256()

    def script(call):
        size = 0
        for part in call.body_parts():
            digest.update(part)
            size += len(part)
            if size > 2 * MIB:
                came.set()
        call.reply_json({"size": size})

    fronted.upstream.script = script
    block = bytes(range(256)) * (MIB // 256)
    head = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n" % (48 * MIB)
    with fronted.client() as client:
        client.send(request(b"POST", b"/v1/files", headers=head))
        for _ in range(8):
            client.send(block)
        assert came.wait(PATIENCE_S)
        for _ in range(40):
            client.send(block)
        answer = client.response()
    assert (answer.status, answer.body) == (200, b'{"size": %d}' % (48 * MIB))
    assert digest.digest() == hashlib.sha256(block * 48).digest()


def test_a_websocket_is_whole(fronted):
    """Messages of any size, both ways, and the close."""

    def script(call):
        from websockets.server import ServerProtocol

        protocol = ServerProtocol(max_size=None)
        protocol.receive_data(call.head + b"\r\n\r\n")
        (handshake,) = protocol.events_received()
        protocol.send_response(protocol.accept(handshake))
        while True:
            for data in protocol.data_to_send():
                if data:
                    call.send(data)
            if protocol.close_expected():
                break
            protocol.receive_data(call.receive())
            for frame in protocol.events_received():
                if frame.opcode == 2:
                    protocol.send_binary(frame.data, fin=frame.fin)
                elif frame.opcode == 0:
                    protocol.send_continuation(frame.data, frame.fin)
        call.finish()

    fronted.upstream.script = script
    with connect(
        f"wss://localhost:{fronted.front.port}/v1/realtime?model=gpt-realtime",
        additional_headers={"Authorization": f"Bearer {KEY}"},
        ssl=fronted.context,
        compression=None,
        max_size=None,
        proxy=None,
    ) as websocket:
        for message in (b"\x00\xff", b"", b"x" * 70_000, b"y" * (2 * MIB)):
            websocket.send(message)
            assert websocket.recv(PATIENCE_S) == message
    assert fronted.upstream.calls[0].target == b"/v1/realtime?model=gpt-realtime"


SPELLINGS = [
    b"/metrics",
    b"/metrics?x=1",
    b"/metrics/",
    b"//metrics",
    b"/%6detrics",
    b"/METRICS",
    b"/./metrics",
    b"/v1/../metrics",
    b"/metrics;x=1",
    b"/admin",
    b"/admin/usage",
    b"/admin/exchanges",
    b"/admin%2Fusage",
    b"//admin//usage",
    b"/v1/%2e%2e/admin/usage",
    b"/dashboard",
    b"/dashboard/app.js",
]


@pytest.mark.parametrize("target", SPELLINGS, ids=[each.decode() for each in SPELLINGS])
def test_the_operators_pages_stay_inside(fronted, target):
    """However they are spelt, and without a token of the operator."""
    answer = fronted.ask(request(target=target))
    assert answer.status in (400, 403, 404)
    assert b"openai_proxy_" not in answer.body
    assert fronted.upstream.calls == []
    direct = ask(fronted.daemon.port, request(target=b"/metrics"))
    assert (direct.status, b"openai_proxy_" in direct.body) == (200, True)


def test_what_is_for_everybody_passes(fronted):
    """The page at / and the checks of balancers; the details of /health only on this machine."""
    assert fronted.ask(request(target=b"/")).status == 200
    assert fronted.ask(request(target=b"/health/live")).status == 200
    health = fronted.ask(request(target=b"/health"))
    assert (health.status, b"reachable" in health.body) == (200, False)


def test_the_clients_address_is_the_clients(fronted):
    """The log names who connected to the front; what a client claims of itself is nothing."""
    raw = socket.socket()
    raw.bind(("127.0.0.77", 0))
    raw.connect(("127.0.0.1", fronted.front.port))
    with fronted.context.wrap_socket(raw, server_hostname="localhost") as sock:
        sock.sendall(chat(headers=b"X-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n"))
        while sock.recv(1 << 16):
            pass
    assert eventually(lambda: "client=127.0.0.77 " in fronted.daemon.log)
    assert "203.0.113.9" not in fronted.daemon.log
