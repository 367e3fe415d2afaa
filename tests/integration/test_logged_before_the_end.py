"""Whoever sees the end of an answer finds it in the exchange log, also if many end at once."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import ssl
import threading
import time
from pathlib import Path

from world.client import Client
from world.daemon import Daemon
from world.kill9 import upstream_script
from world.requests import chat
from world.upstream import Call, Upstream
from world.waiting import PATIENCE_S

CLIENTS = 12
ROUNDS = 8


class Gate:
    """Holds the upstream's answers back until all clients have asked and the daemon is stopped."""

    def __init__(self) -> None:
        self._all = threading.Barrier(CLIENTS + 1)

    def _meet(self) -> None:
        self._all.wait(PATIENCE_S)

    def script(self, call: Call) -> None:
        self._meet()
        self._meet()
        upstream_script(call)
        self._meet()

    def answer_into(self, daemon: Daemon) -> None:
        """Let the daemon find all answers at once when it goes on."""
        self._meet()  # all have asked
        daemon.signal(signal.SIGSTOP)
        self._meet()  # they may be answered
        self._meet()  # they are
        daemon.signal(signal.SIGCONT)


class Asker:
    """One client; knows how long the log was when it had read the end of its answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.user = ""
        self.log_size = 0
        self.last = False
        self._answer = b""

    def ask(self, turn: int, number: int) -> None:
        self.user, self._answer = f"user-{turn}-{number}-", b""
        self.last = turn % 2 == 1 and (turn // 2 + number) % 4 == 3
        document = {"model": "m", "messages": [], "user": self.user, "stream": (turn + number) % 2 == 0}
        closing = b"Connection: close\r\n" if self.last else b""
        self.client.send(chat(json.dumps(document).encode(), closing))

    def read(self, log: int) -> bool:
        """Read on; whether that was the end of the answer."""
        data = self.client.sock.recv(1 << 18)
        self.log_size = os.fstat(log).st_size  # at once: a moment later any order would look right
        self._answer += data
        head, _, body = self._answer.partition(b"\r\n\r\n")
        assert data
        assert head.startswith(b"HTTP/1.1 200 ")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def test_the_line_is_there_when_the_client_sees_the_end(
    tmp_path: Path, tls_port: str, trusting: ssl.SSLContext
) -> None:
    """Over TCP and TLS, of documents and streams, on connections that stay open and that are closed."""
    upstream, gate = Upstream(), Gate()
    upstream.begin(gate.script)
    daemon = Daemon(
        tmp_path,
        upstream.url,
        ports=("tcp:0:interface=127.0.0.1", tls_port),
        options=("-o", "none", "-o", f"exchange-log:dir={tmp_path}/logs"),
    )
    path, tomorrow = (
        tmp_path / "logs" / time.strftime("m_%Y%m%d.jsonl", time.gmtime(time.time() + days * 86400))
        for days in (0, 1)
    )
    path.touch()
    tomorrow.symlink_to(path)  # it may be midnight
    log = os.open(path, os.O_RDONLY)
    found: list[tuple[str, int]] = []
    try:
        plain, tls = (int(each.rpartition(":")[2]) for each in daemon.listening)

        def connected(number: int) -> Asker:
            client = Client(tls, context=trusting) if number % 3 == 2 else Client(plain)
            return Asker(client)

        askers = [connected(number) for number in range(CLIENTS)]
        for turn in range(ROUNDS):
            for number, asker in enumerate(askers):
                asker.ask(turn, number)
            gate.answer_into(daemon)
            waiting = {asker.client.sock: asker for asker in askers}
            end = time.monotonic() + PATIENCE_S
            while waiting and time.monotonic() < end:
                for sock in select.select(list(waiting), [], [], 0)[0]:
                    if waiting[sock].read(log):
                        asker = waiting.pop(sock)
                        found.append((asker.user, asker.log_size))
            for number, asker in enumerate(askers):
                if asker.last:
                    asker.client.close()
                    askers[number] = connected(number)
        for asker in askers:
            asker.client.close()
    finally:
        os.close(log)
        daemon.stop()
        upstream.close()
    whole = path.read_bytes()
    assert len(found) == CLIENTS * ROUNDS
    assert [user for user, size in found if user.encode() not in whole[:size]] == []
