"""The daemon's life as its operator sees it: endpoints, signals, pidfile, logs.

Some of these start it as he does, others as a fork (`world.warm_start`).
"""

import os
import signal

import pytest
from world.client import Client, accepts, ask
from world.requests import AUTHORIZATION, chat, request
from world.scripts import HELD_END, HeldStream
from world.waiting import eventually
from world.warm_start import launch


@pytest.fixture
def streaming(start):
    """Start a daemon with one stream running: (world, client, stream)."""
    opened = []

    def started(**options):
        world = start(**options)
        stream = HeldStream()
        world.upstream.begin(stream)
        client = Client(world.port)
        client.send(chat())
        client.read_until(b"data: first\n\n")
        opened.append((client, stream))
        return world, client, stream

    yield started
    for client, stream in opened:
        stream.finish.set()
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_daemon_ends_at_once(start, number):
    """Without requests there is nothing to wait for; idle connections do not count."""
    world = start(launch=launch)
    with Client(world.port) as client:
        client.send(request())
        assert client.response().status == 200
        world.daemon.signal(number)
        assert client.rest() == b""
        assert client.end == "fin"
    assert world.daemon.wait_until_gone()
    assert world.daemon.process.returncode == 0


def test_running_stream_finishes_before_the_end(streaming):
    """SIGTERM closes the door and lets those inside finish."""
    world, client, stream = streaming()
    world.daemon.signal(signal.SIGTERM)
    assert eventually(lambda: not accepts(world.port))
    assert world.daemon.running
    stream.finish.set()
    assert client.read_until(b"0\r\n\r\n").endswith(HELD_END)
    assert world.daemon.wait_until_gone()
    assert world.daemon.process.returncode == 0


def test_draining_daemon_takes_no_new_request(streaming):
    """A connection from before gets a 503 that says when to come back, and /health/ready shows it to balancers."""
    world, _, _ = streaming()
    api, ready = Client(world.port), Client(world.port)
    api.send(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n")
    ready.send(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n")
    ask(world.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    world.daemon.signal(signal.SIGTERM)
    assert eventually(lambda: "draining" in world.daemon.log)
    api.send(AUTHORIZATION + b"\r\n")
    ready.send(b"\r\n")
    answer = api.response()
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")
    assert answer.header(b"retry-after")
    assert ready.response().status == 503
    for client in (api, ready):
        client.rest()
        assert client.end == "fin"
        client.close()


def test_second_signal_aborts(streaming):
    """Who asks twice means now: the stream is broken off, not ended."""
    world, client, _ = streaming()
    world.daemon.signal(signal.SIGTERM)
    assert eventually(lambda: "draining" in world.daemon.log)
    world.daemon.signal(signal.SIGTERM)
    assert b"0\r\n\r\n" not in client.rest()
    assert client.end == "reset"
    assert world.daemon.wait_until_gone()
    assert world.daemon.process.returncode == 0


def test_drain_has_an_end(streaming):
    """A stream that outlasts the drain is broken off."""
    world, client, _ = streaming(env={"DRAIN_TIMEOUT_S": "0.3"})
    world.daemon.signal(signal.SIGTERM)
    client.rest()
    assert client.end == "reset"
    assert world.daemon.wait_until_gone()


def test_sighup_loads_the_configuration_again(start, tmp_path):
    """New requests follow the changed .env; a broken one is reported and changes nothing."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("OPENAI_API_KEY=sk-one\n")
    world = start(directory=tmp_path)
    ask(world.port, request())
    for text, mark in (
        ("OPENAI_API_KEY=sk-two\n", "configuration reloaded"),
        ("OPENAI_API_KEY=sk-three\nLIMITS__TARGET_BYTES=many\n", "reload refused"),
    ):
        dotenv.write_text(text)
        world.daemon.signal(signal.SIGHUP)
        assert eventually(lambda mark=mark: mark in world.daemon.log)
        ask(world.port, request())
    keys = [call.header(b"authorization") for call in world.upstream.calls]
    assert keys == [b"Bearer sk-one", b"Bearer sk-two", b"Bearer sk-two"]
    assert "sk-" not in world.daemon.log


def test_running_stream_does_not_notice_a_reload(streaming):
    """SIGHUP swaps the configuration for new requests only."""
    world, client, stream = streaming()
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    world.upstream.begin()
    assert ask(world.port, request()).status == 200
    stream.finish.set()
    assert client.read_until(b"0\r\n\r\n").endswith(HELD_END)


def test_daemon_mode_with_pidfile_and_logfile(start, tmp_path):
    """It goes to the background, says who it is, reopens its log when asked, and cleans up."""
    world = start(
        directory=tmp_path,
        twistd=("--pidfile", "proxy.pid", "--logfile", "proxy.log"),
        log="proxy.log",
        launch=launch,
    )
    daemon, port = world.daemon, world.port
    assert daemon.pid != daemon.process.pid
    assert ask(port, request()).status == 200
    (tmp_path / "proxy.log").rename(tmp_path / "proxy.log.old")
    daemon.signal(signal.SIGUSR1)
    assert eventually((tmp_path / "proxy.log").exists)
    daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in (tmp_path / "proxy.log").read_text())
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_until_gone()
    assert eventually(lambda: not (tmp_path / "proxy.pid").exists())


def test_idle_tls_client_does_not_hold_up_the_end(start, tls_port, trusting):
    """A pool that looks at its connections only when it needs one says no goodbye: nobody waits for it."""
    world = start(ports=[tls_port])
    with Client(world.port, context=trusting) as client:
        client.send(request())
        assert client.response().status == 200
        world.daemon.signal(signal.SIGTERM)
        assert world.daemon.wait_until_gone()
        assert client.rest() == b""
        assert client.end == "fin"


def test_several_endpoints_serve_together(start, tmp_path, tls_port, trusting):
    """TCP, a Unix socket and TLS at once, as twistd's endpoint strings say."""
    path = str(tmp_path / "proxy.sock")
    world = start(
        ports=[
            tls_port,
            "tcp:0:interface=127.0.0.1",
            f"unix:{path}",
        ],
        launch=launch,
    )
    tls, plain, unix = world.daemon.listening
    assert (tls[:8], plain[:7], unix) == ("https://", "http://", f"unix:{path}")
    clients = [
        Client(int(tls.rpartition(":")[2]), context=trusting),
        Client(int(plain.rpartition(":")[2])),
        Client(path=path),
    ]
    for client in clients:
        client.send(chat())
        assert client.response().status == 200
        client.close()
    world.daemon.stop()
    assert not os.path.exists(path)


def test_connections_above_the_limit_get_an_error(start):
    """One connection too many gets an answer, not silence; then there is room again."""
    world = start(env={"LIMITS__CONNECTIONS": "2"})
    first, second = Client(world.port), Client(world.port)
    for client in (first, second):
        client.send(request())
        assert client.response().status == 200
    answer = ask(world.port, request())
    assert (answer.status, answer.error["code"]) == (503, "overloaded")
    first.close()
    assert eventually(lambda: ask(world.port, request()).status == 200)
    second.close()


def test_requests_above_the_limit_get_an_error(streaming):
    """With every slot taken a further request is refused at once and may be tried again."""
    world, client, stream = streaming(env={"LIMITS__IN_FLIGHT": "1"})
    answer = ask(world.port, request())
    assert (answer.status, answer.error["code"]) == (503, "overloaded")
    assert answer.header(b"retry-after")
    stream.finish.set()
    client.read_until(b"0\r\n\r\n")
    world.upstream.begin()
    assert ask(world.port, request()).status == 200
