"""What a request waits for before its first byte: look-ups, connections and handshakes, counted with a real daemon."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme
from world.client import ask
from world.daemon import Daemon
from world.waiting import eventually

MODELS = b"GET /v1/models HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-of-a-client\r\n\r\n"
COUNTS_LOOK_UPS = """
import os, socket
real = socket.getaddrinfo
def counted(host, *rest, **options):
    with open(os.environ["LOOK_UPS"], "a") as file:
        file.write(f"{host}\\n")
    return real(host, *rest, **options)
socket.getaddrinfo = counted
"""


class Closing:
    """An API over TLS that closes every connection after its answer; notes for each whether it resumed a session."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.resumed: list[bool] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(sock, server_side=True) as tls:
            self.resumed.append(bool(tls.session_reused))
            read = b""
            while not read.endswith(b"\r\n\r\n"):
                data = tls.recv(65536)
                if not data:
                    return
                read += data
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def upstream(tmp_path):
    server = Closing(tmp_path)
    yield server
    server.close()


@pytest.fixture
def start(tmp_path, upstream):
    """Start a daemon before the upstream, with its look-ups counted; stopped after the test."""
    (tmp_path / "sitecustomize.py").write_text(COUNTS_LOOK_UPS)
    daemons = []

    def start(**env):
        env = {
            "PYTHONPATH": str(tmp_path),
            "LOOK_UPS": str(tmp_path / "look-ups"),
            "UPSTREAM__CA_FILE": str(upstream.ca_file),
            **env,
        }
        daemons.append(Daemon(tmp_path, f"https://localhost:{upstream.port}/v1", env=env))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.stop()


def look_ups(directory):
    return (directory / "look-ups").read_text().splitlines().count("localhost")


def test_new_connections_share_a_look_up_and_a_session(tmp_path, start, upstream):
    """Twenty requests on twenty connections: one look-up, and one full handshake."""
    daemon = start()
    for _ in range(20):
        assert ask(daemon.port, MODELS).status == 200
    assert upstream.resumed == [False] + [True] * 19
    assert look_ups(tmp_path) == 1


def test_a_look_up_holds_for_its_time_only(tmp_path, start, upstream):
    """With `upstream.dns_ttl_s` 0 each connection has its own."""
    daemon = start(UPSTREAM__DNS_TTL_S="0")
    for _ in range(3):
        assert ask(daemon.port, MODELS).status == 200
    assert look_ups(tmp_path) == 3


def test_warm_connections_are_there_before_the_request(start, upstream):
    """With `upstream.warm_connections` the first request finds its handshake made."""
    daemon = start(UPSTREAM__WARM_CONNECTIONS="2")
    assert eventually(lambda: len(upstream.resumed) == 2)
    assert ask(daemon.port, MODELS).status == 200
    assert eventually(lambda: len(upstream.resumed) == 3), "the one that was used is replaced"
