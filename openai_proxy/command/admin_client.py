"""Requests to a running proxy's operator pages, by TCP, TLS or a Unix socket. Blocking: for commands only."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "OPENAI_PROXY_URL"
TOKEN_VARIABLE = "OPENAI_PROXY_ADMIN_TOKEN"  # the variable's name
TIMEOUT_S = 15.0
_MOST_BYTES = 64 * 1024 * 1024


class NotReachable(Exception):
    """Nothing answers there; the message is one line."""


class Refused(Exception):
    """It answered with an error; the message is one line, `code` what programs go by."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@frozen
class AdminClient:
    """Asks one proxy; `token` is its admin token, None without one."""

    url: str
    socket_path: str | None = None
    token: str | None = field(default=None, repr=False)

    def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that it answers, None for nothing; raises NotReachable and Refused."""
        headers = {"Accept": "application/json"}
        body = None
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection, base = self._connection()
        try:
            connection.request(method, base + path, body, headers)
            answer = connection.getresponse()
            data = answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NotReachable(f"{self.socket_path or self.url} does not answer: {reason}") from error
        finally:
            connection.close()
        return _read(answer.status, data)

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        if self.socket_path is not None:
            return _UnixConnection(self.socket_path), ""
        parts = urlsplit(self.url)
        base = parts.path.rstrip("/").removesuffix("/v1")
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context), base
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S), base


def _read(status: int, data: bytes) -> Any:
    try:
        document = json.loads(data) if data else None
    except ValueError:
        document = None
        if status < 400:
            raise NotReachable("what answers there is no openai-proxy") from None
    if status < 400:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        raise Refused(f"it answered {status}")
    param = f" ({error['param']})" if error.get("param") else ""
    raise Refused(f"{error.get('message')}{param}", error.get("code"))


def check_url(url: str) -> str:
    """Return a URL that can be asked; ValueError for another."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("a URL such as http://127.0.0.1:8080 is expected")
    assert parts.port is None or parts.port  # raises ValueError for no number
    return url


def admin_client(url: str | None, socket_path: str | None) -> AdminClient:
    """Return the client for what the command line names, else for OPENAI_PROXY_URL; the token is in the environment.

    Raises ValueError for a URL that is none, OSError for a file of the token that cannot be read.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    file = os.environ.get(f"{TOKEN_VARIABLE}_FILE")
    if not token and file:
        with open(file, encoding="utf-8") as opened:
            token = opened.read().strip()
    url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    return AdminClient(check_url(url), socket_path, token or None)
