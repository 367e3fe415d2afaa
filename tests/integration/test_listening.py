"""Listening as real machines have it: bursts, few descriptors, new certificates, balancers, no epoll."""

import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import trustme
from world.client import Client, ask
from world.daemon import TWISTD
from world.requests import chat, request
from world.scripts import HeldStream
from world.waiting import eventually

LOCAL = "interface=127.0.0.1"
WORKERS = {1: [], 2: ["--workers", "2"]}


def write_pair(directory, names=("localhost",)):
    """Write a new certificate and its key, as two files, and return the certificate as DER."""
    certificate = trustme.CA().issue_cert(*names)
    (directory / "k.pem").write_bytes(certificate.private_key_pem.bytes())
    (directory / "c.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def served(port, name="localhost"):
    """Return the certificates that a port serves, as DER: with workers, what each of six connections got."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = set()
    for _ in range(6):
        plain = socket.create_connection(("127.0.0.1", port), 10)
        with context.wrap_socket(plain, server_hostname=name) as encrypted:
            found.add(encrypted.getpeercert(True))
    return found


@pytest.fixture
def pems(tmp_path):
    directory = tmp_path / "pems"
    directory.mkdir()
    return directory


KINDS = {
    "ssl": "ssl:0:LOCAL:privateKey=DIR/k.pem:certKey=DIR/c.pem",
    "tls": "tls:DIR:0:LOCAL",
}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_certificates_are_read_again(start, pems, kind, workers):
    """By SIGHUP and not before; a broken pair refuses the reload, and the next good one is served."""
    first = write_pair(pems)
    port = KINDS[kind].replace("LOCAL", LOCAL).replace("DIR", str(pems))
    world = start(ports=[port], options=WORKERS[workers])
    assert served(world.port) == {first}
    second = write_pair(pems)
    assert served(world.port) == {first}
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: served(world.port) == {second})
    (pems / "k.pem").write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "reload refused" in world.daemon.log)
    assert served(world.port) == {second}
    third = write_pair(pems)
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: served(world.port) == {third})


def test_every_name_of_a_directory_is_read_again(start, pems):
    """SNI: each gets its own new certificate; one broken file refuses all."""
    for name in ("one.test", "two.test"):
        (pems / name).mkdir()
    old = {name: write_pair(pems / name, (name,)) for name in ("one.test", "two.test")}
    world = start(ports=[f"tls:{pems}:0:{LOCAL}"])
    assert [served(world.port, name) for name in old] == [{each} for each in old.values()]
    new = {name: write_pair(pems / name, (name,)) for name in old}
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: [served(world.port, name) for name in new] == [{each} for each in new.values()])
    write_pair(pems / "one.test", ("one.test",))
    (pems / "two.test" / "k.pem").write_text("no key")
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "reload refused" in world.daemon.log)
    assert [served(world.port, name) for name in new] == [{each} for each in new.values()]


def test_the_ports_of_the_operator_and_of_balancers_get_new_certificates_too(start, pems):
    """`admin.port` and `haproxy:ssl:`; the log says nothing that it did not say before."""
    first = write_pair(pems)
    ssl_port = f"ssl:0:{LOCAL}:privateKey={pems}/k.pem:certKey={pems}/c.pem"
    world = start(ports=["tcp:0:" + LOCAL, f"haproxy:{ssl_port}"], env={"ADMIN__PORT": ssl_port})
    assert eventually(lambda: len(world.daemon.listening) == 3)
    ports = [int(url.rpartition(":")[2]) for url in world.daemon.listening[1:]]
    assert world.daemon.listening[1].startswith("https://")
    assert [served(port) for port in ports] == [{first}, {first}]
    second = write_pair(pems)
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: [served(port) for port in ports] == [{second}, {second}])


HEADERS = {
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN with addresses": b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 2\r\n",
    "LOCAL": b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
    "UNSPEC": b"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00",
    "loopback": b"PROXY TCP4 127.0.0.1 127.0.0.1 1000 80\r\n",
}


@pytest.mark.parametrize("workers", WORKERS)
def test_balancers_that_name_nobody(start, workers):
    """They are served, in whatever pieces their header comes, and no client behind them is local."""
    world = start(ports=[f"haproxy:tcp:0:{LOCAL}"], options=WORKERS[workers])
    for header in HEADERS.values():
        with Client(world.port) as client:
            for byte in header[:9]:
                client.send(bytes([byte]))
            client.send(header[9:] + request())
            assert client.response().status == 200
        with Client(world.port) as client:
            client.send(header + b"GET /admin/usage HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.response().status == 403


def test_who_may_speak_changes_with_a_reload(start, tmp_path):
    """`access.proxies` holds for new connections."""
    (tmp_path / ".env").write_text("ACCESS__PROXIES=10.0.0.0/8\n")
    (tmp_path / ".env").chmod(0o600)
    world = start(directory=tmp_path, ports=[f"haproxy:tcp:0:{LOCAL}"])

    with Client(world.port) as client:
        client.send(HEADERS["loopback"] + request())
        assert client.rest() == b""
    assert eventually(lambda: "not in access.proxies" in world.daemon.log)
    (tmp_path / ".env").write_text("ACCESS__PROXIES=10.0.0.0/8,127.0.0.1\n")
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    with Client(world.port) as client:
        client.send(HEADERS["loopback"] + request())
        assert client.response().status == 200


NO_EPOLL = "import select\nfor name in [n for n in dir(select) if n.lower().startswith('epoll')]:\n    delattr(select, name)\n"


@pytest.mark.parametrize("reactor", ["default", "select", "poll"])
@pytest.mark.parametrize("workers", WORKERS)
def test_without_epoll(start, tmp_path, reactor, workers):
    """As on macOS: requests, streams and a client that leaves."""
    (tmp_path / "sitecustomize.py").write_text(NO_EPOLL)
    world = start(
        env={"PYTHONPATH": str(tmp_path)},
        twistd=("-n", "--pidfile=", *(() if reactor == "default" else ("-r", reactor))),
        options=WORKERS[workers],
    )
    assert ask(world.port, request()).status == 200
    stream = HeldStream()
    world.upstream.begin(stream)
    with Client(world.port) as client:
        client.send(chat())
        client.read_until(b"data: first\n\n")
        stream.finish.set()
        assert client.read_until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")


@pytest.mark.slow
@pytest.mark.parametrize("workers", WORKERS)
def test_few_descriptors_serve_fewer_connections(start, workers, monkeypatch):
    """With a hard limit of 160: served connections continue, the rest gets 503 `overloaded`, one line says it."""
    monkeypatch.setattr("world.daemon.TWISTD", "sh")
    world = start(
        twistd=("-c", f'ulimit -n 160 && exec {TWISTD} -n --pidfile= "$@"', "-n"),
        options=WORKERS[workers],
    )
    said = re.findall(r"at most (\d+) client connections", world.daemon.log)
    assert len(said) == 1, world.daemon.log
    stream = HeldStream()
    world.upstream.begin(stream)
    clients = [Client(world.port) for _ in range(150)]
    answers = [None] * len(clients)

    def first_line(number):
        clients[number].send(chat())
        answers[number] = clients[number].read_until(b"\r\n")[:12]

    threads = [threading.Thread(target=first_line, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = {line: answers.count(line) for line in set(answers)}
    assert set(counts) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}, counts
    assert counts[b"HTTP/1.1 200"] >= 20, counts
    stream.finish.set()
    for client, line in zip(clients, answers, strict=True):
        if line == b"HTTP/1.1 200":
            assert client.read_until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")
        client.close()
    deadline = time.monotonic() + 10
    while ask(world.port, request()).status != 200:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("workers", WORKERS)
def test_a_refused_reload_fails_for_systemd(start, tmp_path, workers):
    """`openai-proxy reload PID` exits 1 with the daemon's reason, and 0 once the file is mended."""
    (tmp_path / "run").mkdir()
    config = tmp_path / "c.toml"
    config.write_text("")
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "run")}
    world = start(env=environment, options=["--config", str(config), *WORKERS[workers]])

    def reload():
        command = [str(TWISTD.with_name("openai-proxy")), "reload", str(world.daemon.pid)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stderr

    assert reload() == (0, "")
    config.write_text("[retri]\nx = 1\n")
    code, said = reload()
    assert code == 1
    assert "reload refused" in said
    assert "retri" in said
    config.write_text("[retry]\nmax_retries = 1\n")
    assert reload() == (0, "")
