"""Requests to a running proxy's operator pages, by TCP, TLS or a Unix socket. Blocking: for commands only."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from ..settings.values import check_key

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "OPENAI_PROXY_URL"
TOKEN_VARIABLE = "OPENAI_PROXY_ADMIN_TOKEN"  # the variable's name
TIMEOUT_S = 20.0
_MOST_BYTES = 64 * 1024 * 1024


class NotReachable(Exception):
    """The proxy does not answer; the message is one line."""


class Refused(Exception):
    """The proxy answered with an error; the message is one line, `code` is for programs."""

    def __init__(self, message: str, code: str | None = None, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    @property
    def is_not_allowed(self) -> bool:
        """Whether the request lacks permission: the token is missing or wrong, or this is another machine."""
        return self.status in (401, 403)


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
    """Sends requests to one proxy; `token` is its admin token, None without one."""

    url: str
    socket_path: str | None = None
    token: str | None = field(default=None, repr=False)

    def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of the answer, None if it is empty; raise NotReachable and Refused."""
        headers = self._headers("application/json")
        body = None
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        connection, base = self._connection()
        try:
            connection.request(method, base + path, body, headers)
            answer = connection.getresponse()
            data = answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._no_answer(error) from error
        finally:
            connection.close()
        return _read(answer.status, data)

    def read_along(
        self, path: str, opened: Callable[[Callable[[], None]], object] = lambda cut: None
    ) -> Iterator[bytes]:
        """Yield the bytes of an event stream as they come, until its end; raises NotReachable and Refused.

        No more than TIMEOUT_S may pass without any: the proxy sends a comment
        before that. `opened` is called with a function that cuts the connection
        from any thread.
        """
        connection, base = self._connection()

        def cut() -> None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

        try:
            connection.request("GET", base + path, headers=self._headers("text/event-stream"))
            connected = connection.sock
            opened(cut)
            answer = connection.getresponse()
            if answer.status >= 400:
                _read(answer.status, answer.read(_MOST_BYTES))
            while data := answer.read1(65536):
                yield data
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._no_answer(error) from error
        finally:
            connection.close()

    def _headers(self, accept: str) -> dict[str, str]:
        token = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return {"Accept": accept, **token}

    def _no_answer(self, error: Exception) -> NotReachable:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return NotReachable(f"{self.socket_path or self.url} does not answer: {reason}")

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
            raise NotReachable("the server there is not openai-proxy") from None
    if status < 400:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        raise Refused(f"it answered {status}", None, status)
    param = f" ({error['param']})" if error.get("param") else ""
    raise Refused(f"{error.get('message')}{param}", error.get("code"), status)


def check_url(url: str) -> str:
    """Return a URL that requests can be sent to; raise ValueError for another."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("a URL such as http://127.0.0.1:8080 is expected")
    assert parts.port is None or parts.port  # raises ValueError if it is not a number
    return url


def check_secret(secret: str, variable: str) -> None:
    """Raise ValueError if a header cannot contain `secret`: `http.client` would repeat it in its own error."""
    try:
        check_key(secret)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def admin_client(url: str | None, socket_path: str | None) -> AdminClient:
    """Return the client for the proxy that the command line names, else OPENAI_PROXY_URL; the environment has the token.

    Raises ValueError for an invalid URL or token, OSError if the token's file cannot be read.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    file = os.environ.get(f"{TOKEN_VARIABLE}_FILE")
    if not token and file:
        with open(file, encoding="utf-8") as opened:
            token = opened.read().strip()
    if token:
        check_secret(token, TOKEN_VARIABLE)
    url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    return AdminClient(check_url(url), socket_path, token or None)
