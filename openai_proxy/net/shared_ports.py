"""Endpoints on sockets that the supervisor opened.

The supervisor binds what each endpoint string says, and listens when its
workers are ready, so that no client connects to a daemon that cannot answer
yet. A worker builds the same endpoint again, so that TLS and the PROXY protocol
are as the string says, with a reactor that returns the inherited socket
whenever the endpoint would open one.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.protocol import Factory
from twisted.plugins.twisted_core import systemdEndpointParser

from .listening import StartError, listen
from .unix_locks import RemovableUNIXPort

_UNSHARED = "several workers cannot share such an endpoint"


class Unserved(Factory):
    """The factory of a port that only keeps its socket open."""

    noisy = False

    def logPrefix(self) -> str:
        return "openai-proxy"

    def buildProtocol(self, addr: Any) -> Any:
        """Refuse: only an endpoint that is itself a connection calls this, such as stdio."""
        raise ValueError(_UNSHARED)


def hold(reactor: Any, description: str) -> Any:
    """Bind the address of an endpoint string, and return the port, which accepts nothing. Raises StartError."""
    port = listen(_HoldingReactor(reactor), description, Unserved())
    if not hasattr(port, "stopReading") or not isinstance(getattr(port, "socket", None), socket.socket):
        raise StartError(f"cannot listen on {description}: {_UNSHARED}")
    port.stopReading()
    return port


def open_door(port: Any, description: str) -> None:
    """Listen on a bound port: from now on clients can connect. Raises StartError."""
    if isinstance(port.socket, PatientSocket):  # a socket from systemd listens already
        try:
            port.socket.listen_now()
        except OSError as error:
            raise StartError(f"cannot listen on {description}: {error}") from error


class PatientSocket(socket.socket):
    """A socket that postpones `listen` until `listen_now`."""

    _backlog = 50

    def listen(self, backlog: int = 50) -> None:
        self._backlog = backlog

    def listen_now(self) -> None:
        super().listen(self._backlog)


class HeldTCPPort(tcp.Port):
    """A TCP port that is bound but does not listen."""

    def createInternetSocket(self) -> socket.socket:
        return PatientSocket(fileno=super().createInternetSocket().detach())


class HeldUNIXPort(RemovableUNIXPort):
    """A Unix port that is bound but does not listen."""

    def createInternetSocket(self) -> socket.socket:
        return PatientSocket(fileno=super().createInternetSocket().detach())


class _HoldingReactor:
    """The reactor for the supervisor's endpoints: ports are bound, but do not listen."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return _started(HeldTCPPort(port, factory, backlog, interface, self._reactor))

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> Any:
        return _started(HeldUNIXPort(address, factory, backlog, mode, self._reactor, wantPID))


def _started(port: Any) -> Any:
    port.startListening()
    return port


def adopt(reactor: Any, fd: int, description: str, factory: Any) -> Any:
    """Build the endpoint of `description` on the listening socket `fd`; return the port. Raises StartError."""
    systemdEndpointParser._sddaemon = _Inherited(fd)  # type: ignore[assignment]  # the only part of ListenFDs that is used
    return listen(_AdoptingReactor(reactor, fd), description, factory)


class _Inherited:
    """Replaces the sockets that systemd passed on; each worker has inherited its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def inheritedDescriptors(self) -> _Inherited:
        return self

    inheritedNamedDescriptors = inheritedDescriptors

    def __getitem__(self, index_or_name: Any) -> int:
        return os.dup(self._fd)  # the endpoint closes the descriptor that it gets


class _AdoptingReactor:
    """The reactor for a worker's endpoint: whatever it listens on is the inherited socket."""

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: Any, factory: Any, *args: Any, **kwargs: Any) -> Any:
        return self._port(factory)

    def listenUNIX(self, address: Any, factory: Any, *args: Any, **kwargs: Any) -> Any:
        return self._port(factory)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        return self._port(factory)

    def _port(self, factory: Any) -> Any:
        with socket.socket(fileno=os.dup(self._fd)) as inherited:
            family = inherited.family
        if family == socket.AF_UNIX:
            port: Any = SharedUNIXPort._fromListeningDescriptor(self._reactor, self._fd, factory)
        else:
            port = SharedTCPPort._fromListeningDescriptor(self._reactor, self._fd, family, factory)
        port.startListening()
        os.close(self._fd)  # the port has its own descriptor by now
        return port


class SharedTCPPort(tcp.Port):
    """A port whose socket other processes accept from as well.

    It neither binds nor chmods nor shuts the socket down, and it accepts one
    connection a turn, so that a burst is distributed over the workers.
    """

    _shouldShutdown = False
    factory: Any

    @property
    def numberAccepts(self) -> int:
        """The number of connections accepted in a turn; Twisted's would grow to hundreds."""
        return 1

    @numberAccepts.setter
    def numberAccepts(self, count: int) -> None:
        pass

    def startListening(self) -> None:
        tcp._reservedFD.reserve()
        inherited = self._preexistingSocket
        assert inherited is not None
        inherited.setblocking(False)
        self.factory.doStart()
        self.connected = True
        self.socket, self._preexistingSocket = inherited, None
        self.fileno = inherited.fileno  # type: ignore[method-assign]  # as Twisted does it
        if inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self.startReading()  # otherwise once the supervisor says that it listens

    def doRead(self) -> None:
        """Accept; a socket that the supervisor has shut down stays readable for ever without a connection."""
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            super().doRead()
        else:
            self.stopReading()

    def _logConnectionLostMsg(self) -> None:
        """Do nothing: the supervisor logs that the port is closed."""


class SharedUNIXPort(SharedTCPPort, unix.Port):
    """A Unix port on an inherited socket; the supervisor handles its path and the path's mode."""

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
