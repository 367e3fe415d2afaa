"""A proxy's operator pages as a test writes them: answers in a row, and an event stream."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


class Answers(BaseHTTPRequestHandler):
    """Notes what it was asked, and answers with what comes next for it."""

    server: ScriptedProxy

    def answer(self) -> None:
        token = self.headers.get("Authorization")
        self.server.asked.append((self.command, self.path, token))
        if self.path == "/admin/live":
            return self._live()
        return self.answer_next()

    def answer_next(self) -> None:
        """Send the next of the answers."""
        status, document = self.server.answers.pop(0)
        data = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_DELETE = answer

    def _live(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.events)
            self.server.closing.wait(30)

    def address_string(self) -> str:
        return "a Unix socket has none"

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class ScriptedProxy(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on a port of loopback, or at a path; `answers` are (status, document or None)."""

    daemon_threads = True
    address_family = socket.AF_INET

    def __init__(self, address: Any) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.answers: list[tuple[int, Any]] = []
        self.events = b""
        self.closing = threading.Event()
        super().__init__(address, Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class AtPath(ScriptedProxy):
    address_family = socket.AF_UNIX


@contextlib.contextmanager
def scripted_proxy(path: Path | None = None) -> Iterator[ScriptedProxy]:
    """Serve in a thread until the end."""
    server = AtPath(os.fspath(path)) if path else ScriptedProxy(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def event(name: str, document: object) -> bytes:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()


def row(id: str, **changes: Any) -> dict[str, Any]:
    """Return an exchange as `/admin/exchanges` has it."""
    made = {
        "id": id,
        "state": "streaming",
        "key": "alice",
        "tags": {},
        "method": "POST",
        "endpoint": "chat/completions",
        "model": "gpt-4o",
        "upstream": "default",
        "transport": "http",
        "age_s": 1.5,
        "first_byte_s": 0.25,
        "output_tokens": 7,
        "estimated": True,
        "bytes_out": 100,
        "attempts": 1,
        "status": 200,
        "outcome": None,
        "cost_usd": None,
        "started": "2026-11-30T08:00:00.000Z",
    }
    return {**made, **changes}


def ended(id: str, **changes: Any) -> dict[str, Any]:
    return row(
        id, **{"state": "ended", "outcome": "complete", "estimated": False, "cost_usd": 0.0123, **changes}
    )
