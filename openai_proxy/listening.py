"""Listening on Twisted's endpoint strings, and saying where."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from .logs import logger

log = logger("openai_proxy")


class StartError(Exception):
    """The daemon can not start; the message is the one line that says why."""


def one_line(kind: Any, value: Any, traceback: Any) -> None:
    """Tell a StartError as one line, anything else as Python does: a `sys.excepthook`."""
    if isinstance(value, StartError):
        sys.stderr.write(f"openai-proxy: {value}\n")
    else:
        sys.__excepthook__(kind, value, traceback)


def listen(reactor: Any, description: str, factory: Any) -> Any:
    """Listen on an endpoint string and return the port; raises StartError."""
    ports: list[Any] = []
    failures: list[Failure] = []
    try:
        endpoint = serverFromString(reactor, description)
        maybeDeferred(endpoint.listen, factory).addCallbacks(ports.append, failures.append)
    except Exception as error:
        raise StartError(f"cannot listen on {description}: {error}") from error
    if failures:
        refused = failures[0].value
        reason = refused.socketError if isinstance(refused, CannotListenError) else refused
        raise StartError(f"cannot listen on {description}: {reason}")
    if not ports:
        raise StartError(f"cannot listen on {description}: the endpoint does not listen at once")
    return ports[0]


def describe_port(port: Any) -> str:
    """Return where a port listens: `http://127.0.0.1:8080`, `https://[::]:8443`, `unix:/run/p.sock`."""
    address = port.getHost()
    number = getattr(address, "port", None)
    if number is None:
        name = getattr(address, "name", address)
        return "unix:" + (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name))
    scheme = "https" if _is_tls(port) else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{scheme}://{host}:{number}"


def announce(port: Any, spends_key: bool) -> None:
    """Log where a port listens; warn where whoever reaches it `spends_key`."""
    address = describe_port(port)
    log.info("listening on {address}", address=address)
    if spends_key and is_open_to_network(port):
        log.warn(
            "warning: {address} is open to the network and no client keys are configured: "
            "anyone who reaches this port can spend the upstream key",
            address=address,
        )


def is_open_to_network(port: Any) -> bool:
    """Whether others than this machine can reach a port."""
    host = getattr(port.getHost(), "host", None)
    return host is not None and not host.startswith("127.") and host not in ("::1", "localhost")


def _is_tls(port: Any) -> bool:
    return type(getattr(port, "factory", None)).__name__ == "TLSMemoryBIOFactory"
