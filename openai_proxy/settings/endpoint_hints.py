"""Suggest the endpoint string that was meant by an address. Pure."""

from __future__ import annotations

import re

_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?|tcp)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*|\*):(?P<port>[0-9]{1,5})/?"
)
_ALL = ("", "*", "0.0.0.0", "tcp")
_OTHER_TYPES = ("ssl", "tls", "tcp6", "unix", "systemd", "haproxy", "stdio")
"""Before a port, what looks like a host's name is a type of endpoint."""
_ALL_V6 = "::"


_LOCAL = re.compile(
    r"unix:.*|(?:tcp6?|ssl|tls):(?:.*:)?interface=(?:127(?:\.[0-9]{1,3}){3}|localhost|(?:\\:){2}1|(?:\\:){2}ffff\\:127(?:\.[0-9]{1,3}){3})(?::.*)?",
    re.IGNORECASE,
)


def is_loopback_endpoint(text: str) -> bool:
    """Return whether a server endpoint string certainly listens on loopback only.

    >>> is_loopback_endpoint("tcp:8080:interface=127.0.0.1"), is_loopback_endpoint("tcp:8080")
    (True, False)
    """
    return _LOCAL.fullmatch(text.strip()) is not None


def meant_endpoint(text: str) -> str | None:
    """Return the endpoint string for an address such as `127.0.0.1:8080`, None if the text is no address.

    >>> meant_endpoint("127.0.0.1:8080")
    'tcp:8080:interface=127.0.0.1'
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535 or match["scheme"] == "https":
        return None
    host, port = match["host"].strip("[]"), match["port"]
    if match["scheme"] is None and host.lower() in _OTHER_TYPES:
        return None
    if host in _ALL:
        return f"tcp:{port}"
    if ":" in host:
        escaped = host.replace(":", r"\:")
        return f"tcp6:{port}" if host == _ALL_V6 else f"tcp6:{port}:interface={escaped}"
    if host.lower() == "localhost":
        host = "127.0.0.1"
    return f"tcp:{port}:interface={host}"
