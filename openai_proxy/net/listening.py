"""Listen on Twisted's endpoint strings, log the addresses, and reload their certificates."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from ..logs import logger
from .endpoints import endpoint, made_anew, why_unusable
from .tls_endpoints import has_certificates
from .tls_wrappers import TLSFactory
from .unix_locks import RemovableUNIXPort

log = logger("openai_proxy")


class StartError(Exception):
    """The daemon cannot start; the message is one line with the reason."""


def one_line(kind: Any, value: Any, traceback: Any) -> None:
    """Print a StartError as one line, anything else as Python does: a `sys.excepthook`."""
    if isinstance(value, StartError):
        sys.stderr.write(f"openai-proxy: {value}\n")
    else:
        sys.__excepthook__(kind, value, traceback)


def listen(reactor: Any, description: str, factory: Any) -> Any:
    """Listen on an endpoint string and return the port; raise StartError."""
    ports: list[Any] = []
    failures: list[Failure] = []
    try:
        listening = endpoint(reactor, description, factory)
        maybeDeferred(listening.listen, factory).addCallbacks(ports.append, failures.append)
    except Exception as error:
        raise StartError(f"cannot listen on {description}: {error}") from error
    if failures:
        refused = failures[0].value
        reason = refused.socketError if isinstance(refused, CannotListenError) else refused
        raise StartError(f"cannot listen on {description}: {reason}")
    if not ports:
        raise StartError(f"cannot listen on {description}: the endpoint does not listen at once")
    _accept_into_room(ports[0], factory)
    return ports[0]


class _RoomyPort(tcp.Port):
    """Accepts no more connections in a turn than its site has room for."""

    site: Any
    _accepts = 100

    @property
    def numberAccepts(self) -> int:
        """The number of connections that are accepted in a turn, at least 1."""
        room: int = self.site.room
        return max(1, min(self._accepts, room))

    @numberAccepts.setter
    def numberAccepts(self, count: int) -> None:
        self._accepts = count


class _RoomyTCPPort(_RoomyPort):
    """A TCP port, otherwise like Twisted's own class."""


class _RoomyUNIXPort(_RoomyPort, RemovableUNIXPort):
    """A Unix port."""


_ROOMY: dict[type, type] = {tcp.Port: _RoomyTCPPort, unix.Port: _RoomyUNIXPort}


def _accept_into_room(port: Any, site: Any) -> None:
    """Let a port of Twisted's ask the site how many connections it may accept; other ports stay unchanged."""
    kind = _ROOMY.get(type(port))
    if kind is not None and hasattr(site, "room"):
        port.__dict__.pop("numberAccepts", None)
        port.__class__ = kind
        port.site = site


@frozen(eq=False)
class Listener:
    """A port of this process: the string that it was made from, and the site that it serves."""

    port: Any
    description: str
    site: Any


Renewal: TypeAlias = "list[tuple[Listener, Any]]"
"""Ports, each with the factory for its future connections."""


def read_certificates(reactor: Any, listeners: list[Listener]) -> Renewal:
    """Read the files of every `ssl:` and `tls:` port again; nothing is used yet. Raises StartError."""
    renewal: Renewal = []
    for each in listeners:
        if has_certificates(each.description):
            try:
                renewal.append((each, made_anew(reactor, each.description, each.site)))
            except Exception as error:
                raise StartError(f"{each.description}: {why_unusable(error)}") from error
    return renewal


def use_certificates(renewal: Renewal) -> None:
    """Use the files that were read for new connections; open ones stay unchanged."""
    for listener, factory in renewal:
        port = listener.port
        if port.connected and not port.disconnecting:
            factory.doStart()
            old, port.factory = port.factory, factory
            old.doStop()


def describe_port(port: Any) -> str:
    """Return the address of a port: `http://127.0.0.1:8080`, `https://[::]:8443`, `unix:/run/p.sock`."""
    address = port.getHost()
    number = getattr(address, "port", None)
    if number is None:
        name = getattr(address, "name", address)
        return "unix:" + (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name))
    scheme = "https" if _is_tls(port) else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{scheme}://{host}:{number}"


def announce(port: Any, risk: str | None) -> None:
    """Log the address of a port; first warn if whoever reaches it can do what `risk` says.

    So a program that waits for the line has seen the warning, too.
    """
    address = describe_port(port)
    if risk is not None and is_open_to_network(port):
        log.warn(
            "warning: {address} is open to the network and no client keys are configured: "
            "anyone who reaches this port can {risk}",
            address=address,
            risk=risk,
        )
    log.info("listening on {address}", address=address)


def is_open_to_network(port: Any) -> bool:
    """Return whether other machines can reach a port."""
    host = getattr(port.getHost(), "host", None)
    return host is not None and not host.startswith("127.") and host not in ("::1", "localhost")


def _is_tls(port: Any) -> bool:
    factory = getattr(port, "factory", None)
    while factory is not None and not isinstance(factory, TLSFactory):
        factory = getattr(factory, "wrappedFactory", None)
    return factory is not None
