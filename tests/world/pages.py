"""The daemon's own pages, read as an operator reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from world.client import Client, ask


def get_json(port: int, path: str, token: str | None = None) -> Any:
    """Return the document of a page of the proxy's own; `token` is the admin token."""
    shown = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return json.loads(ask(port, f"GET {path} HTTP/1.1\r\nHost: proxy\r\n{shown}\r\n".encode()).body)


def metrics(port: int) -> str:
    answer = ask(port, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 200
    return answer.body.decode()


def total(page: str, name: str) -> float:
    """The sum of a metric over its labels."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for value in found)


def samples(port: int) -> dict[str, float]:
    """Return what /metrics says: value by name and labels."""
    with Client(port) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n")
        lines = client.response().body.decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }
