"""A session of openai's library for Node, recorded and replayed: the same bytes, at the same moments.

    python3 tests/conformance/node_replay.py [--write]

Installs the npm package `openai` into CONFORMANCE_DIR, and runs the session of node_session.mjs twice through a daemon
(TWISTD, default .venv/bin/twistd of this checkout): before the mock upstream, recording, and before what was recorded,
in its own time, if nothing answers but the cassette. Exit 0 only if all responses are the same. --write keeps the
cassette and the bytes that the library sent for tests/integration/test_node_session.py.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KEPT = HERE.parent / "integration" / "node_session"
WORK = Path(
    os.environ.get("CONFORMANCE_DIR") or Path(tempfile.gettempdir()) / "openai-proxy-conformance"
).resolve()
TWISTD = Path(os.environ.get("TWISTD") or HERE.parents[1] / ".venv" / "bin" / "twistd")
TOLERANCE_S = 0.15
PACKAGE = "openai@7.55.0"
OWN_HEADERS = {"date", "x-request-id", "connection", "keep-alive", "transfer-encoding", "content-length"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Tee:
    """A port before the daemon's that keeps what the client sends."""

    def __init__(self, target: int) -> None:
        self.sent = bytearray()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._copy, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, False), daemon=True).start()

    def _copy(self, source: socket.socket, other: socket.socket, keep: bool) -> None:
        with contextlib.suppress(OSError):  # whoever goes first
            while data := source.recv(65536):
                if keep:
                    self.sent += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def session(directory: Path, upstream: str, **env: str) -> tuple[list[dict[str, Any]], bytes]:
    """Return what the library received, and the bytes that it sent."""
    port = free_port()
    command = [TWISTD, "-n", "--pidfile=", "openai-proxy", "--port", f"tcp:{port}:interface=127.0.0.1"]
    environment = {"PATH": os.environ["PATH"], "OPENAI_API_BASE": upstream, **env}
    with (directory / "log").open("ab") as log:
        daemon = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        tee = Tee(port)
        client = {"OPENAI_BASE_URL": f"http://127.0.0.1:{tee.port}/v1", "OPENAI_API_KEY": "sk-any"}
        done = subprocess.run(
            ["node", "node_session.mjs"],
            cwd=directory,
            env={"PATH": os.environ["PATH"], **client},
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        )
        return json.loads(done.stdout), bytes(tee.sent)
    finally:
        daemon.terminate()
        daemon.wait(60)


def differences(recorded: list[dict[str, Any]], replayed: list[dict[str, Any]]) -> list[str]:
    """Return a line for each thing in which the second session was another one."""
    found = []
    if len(recorded) != len(replayed):
        found.append(f"{len(recorded)} responses, then {len(replayed)}")
    for one, other in zip(recorded, replayed, strict=False):
        name = one["url"]
        heads = [
            sorted(pair for pair in each["headers"] if pair[0] not in OWN_HEADERS) for each in (one, other)
        ]
        bodies = [b"".join(base64.b64decode(data) for _, data in each["chunks"]) for each in (one, other)]
        if one["status"] != other["status"] or heads[0] != heads[1]:
            found.append(f"{name}: another head: {one['status']} {heads[0]}, {other['status']} {heads[1]}")
        if bodies[0] != bodies[1]:
            found.append(f"{name}: another body")
        for at, (then, now) in enumerate(zip(arrivals(one), arrivals(other), strict=False)):
            if abs(then - now) > TOLERANCE_S:
                found.append(f"{name}: at its byte {at * 64}, after {then:.3f} s and after {now:.3f} s")
                break
    return found


def arrivals(response: dict[str, Any]) -> list[float]:
    """Return when each 64th byte of a body came: chunks may be cut otherwise on their way."""
    moments: list[float] = []
    size = 0
    for moment, data in response["chunks"]:
        size += len(base64.b64decode(data))
        moments += [moment] * (size // 64 + 1 - len(moments))
    return moments


def main() -> int:
    (WORK / "node-replay").mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", WORK / "node-replay", PACKAGE]
    subprocess.run(npm, check=True)
    with tempfile.TemporaryDirectory(dir=WORK) as made:
        directory = Path(made)
        (directory / "node_modules").symlink_to(WORK / "node-replay" / "node_modules")
        shutil.copy(HERE / "node_session.mjs", directory)
        recorded, sent = session(
            directory,
            "mock:latency_s=0.2&tokens_per_s=40",
            OBSERVERS="exchange-log:dir=cassettes:raw=true",
        )
        replayed, _ = session(directory, "replay:cassettes", REPLAY__TIMING="real")
        found = differences(recorded, replayed)
        took = [
            sum(each["chunks"][-1][0] for each in answers if each["chunks"])
            for answers in (recorded, replayed)
        ]
        print(f"{len(recorded)} responses in {took[0]:.2f} s, replayed in {took[1]:.2f} s")
        print("\n".join(found) or "the same bytes at the same moments")
        if "--write" in sys.argv:
            KEPT.mkdir(exist_ok=True)
            lines = b"".join(path.read_bytes() for path in sorted((directory / "cassettes").glob("*.jsonl")))
            (KEPT / "cassette.jsonl").write_bytes(lines)
            (KEPT / "sent.bin").write_bytes(sent)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
