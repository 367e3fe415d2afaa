"""Making one connection to Redis: where it is, TLS, log-in.

For `redis_client` alone, which keeps one and makes the next.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure

from .client_tls import VerifyingClient, client_context
from .host_names import ascii_host, host_endpoint
from .redis_url import RedisAddress

CONNECT_TIMEOUT_S = 2
Command = tuple[bytes | str | int | float, ...]


def redis_endpoint(reactor: Any, address: RedisAddress, ca_pem: bytes | None = None) -> IStreamClientEndpoint:
    """Return the endpoint of `address`; `rediss` verifies against `ca_pem` or the system's store."""
    host = ascii_host(address.host)
    plain = host_endpoint(reactor, host, address.port, CONNECT_TIMEOUT_S)
    if not address.tls:
        return plain
    trust = trustRootFromCertificates([Certificate.loadPEM(ca_pem)]) if ca_pem else platformTrust()
    return wrapClientTLS(VerifyingClient(client_context(trust), host), plain)


async def connect(
    endpoint: IStreamClientEndpoint,
    nonsense: Callable[[Any, Exception], None],
    lost: Callable[[Failure], None],
) -> Any:
    """Return txredisapi's protocol, connected and nothing said yet.

    Where the other side does not speak Redis, `nonsense` is called with the
    protocol and what it raised, in place of a traceback: it ends the connection.
    `lost` is told why the connection ended, before the calls in flight are.
    """
    txredisapi = importlib.import_module("txredisapi")  # it imports the reactor
    protocol = txredisapi.RedisProtocol(charset=None, convertNumbers=False)
    receive = protocol.dataReceived

    def received(data: bytes, unpause: bool = False) -> None:
        try:
            receive(data, unpause)
        except Exception as error:
            nonsense(protocol, error)

    lose = protocol.connectionLost

    def connection_lost(reason: Failure) -> None:
        lost(reason)
        lose(reason)

    protocol.dataReceived = received
    protocol.connectionLost = connection_lost
    factory: Any = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: protocol
    await endpoint.connect(factory)
    return protocol


async def greet(address: RedisAddress, send: Callable[[Command], Awaitable[Any]]) -> None:
    """Log in, choose the database and have a PING answered; raises what `send` raises."""
    if address.password is not None:
        login = (address.username, address.password) if address.username else (address.password,)
        await send(("AUTH", *login))
    if address.db is not None:
        await send(("SELECT", address.db))
    await send(("PING",))


def cut(protocol: Any) -> None:
    """Abort the connection. May be called when it is lost."""
    if protocol.connected:  # a TLS transport cannot be aborted once it is lost
        protocol.transport.abortConnection()
