"""What of Twisted is borrowed that its documentation does not promise, an assertion for each name and behaviour.

A release that changes one of them fails here, and not silently in a daemon.
"""

import ast
import re
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest
from fakes import SocketPair, Transport
from twisted.internet import tcp, unix
from twisted.internet.base import DelayedCall, ReactorBase
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.plugins.twisted_core import systemdEndpointParser
from twisted.protocols.haproxy import _wrapper as haproxy_wrapper
from twisted.python.logfile import LogFile
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.server import Site as TwistedSite

import openai_proxy
from openai_proxy.daemon.signals import twistd_log_file
from openai_proxy.net.eager_transports import become_eager
from openai_proxy.net.listening import _accept_into_room
from openai_proxy.net.shared_ports import SharedTCPPort
from openai_proxy.net.sockets import untaken_bytes


@pytest.fixture(params=[tcp.Server, unix.Server])
def pair(request):
    pair = SocketPair(request.param, MemoryReactorClock())
    yield pair
    pair.close()


# ---- transports: net/eager_transports.py, net/sockets.py, net/socket_group.py


def test_a_transport_has_the_buffers_that_are_counted(pair):
    """`dataBuffer` from `offset` on, and `_tempDataBuffer` with its size in `_tempDataLen`, are all that waits."""
    transport = pair.transport
    assert (transport.dataBuffer, transport.offset) == (b"", 0)
    assert (transport._tempDataBuffer, transport._tempDataLen) == ([], 0)
    transport.write(b"twelve bytes")
    assert (transport._tempDataBuffer, transport._tempDataLen) == ([b"twelve bytes"], 12)
    assert untaken_bytes(transport) == 12
    transport.doWrite()
    assert (transport._tempDataBuffer, transport._tempDataLen) == ([], 0)


def test_what_the_kernel_did_not_take_is_the_buffer_from_its_offset_on(pair):
    """Half sent data stays in `dataBuffer`, and `offset` says how much of it is gone."""
    transport = pair.transport
    transport.write(bytes(10_000_000))
    transport.doWrite()
    sent = len(pair.arrived())
    assert 0 < sent < 10_000_000
    assert transport.offset == sent
    assert len(transport.dataBuffer) - transport.offset + transport._tempDataLen == 10_000_000 - sent


def test_a_transport_says_how_it_stands(pair):
    """`connected`, `disconnecting` and `_aborting` tell whether anything may still be given to it."""
    transport = pair.transport
    assert (bool(transport.connected), bool(transport.disconnecting), transport._aborting) == (
        True,
        False,
        False,
    )
    transport.abortConnection()
    assert transport._aborting


def test_a_transport_writes_through_its_socket_and_reads_through_its_reactor(pair):
    """`socket` and `reactor` may be used and replaced: the socket group stands in for the reactor."""
    assert isinstance(pair.transport.socket, socket.socket)
    other = MemoryReactorClock()
    pair.transport.reactor = other
    pair.transport.startReading()
    assert other.getReaders() == [pair.transport]
    pair.transport.stopReading()


def test_a_transport_can_become_a_subclass(pair):
    """Its class is assigned; whatever has slots or another layout would refuse that."""
    kind = type(pair.transport)
    become_eager(pair.transport)
    assert type(pair.transport) is not kind
    assert isinstance(pair.transport, kind)


# ---- ports: net/listening.py, net/shared_ports.py


class Site(Factory):
    """Counts the connections that it is asked for, and has room for some."""

    noisy = False
    protocol = Protocol

    def __init__(self, room=100):
        self.room = room
        self.asked = 0

    def buildProtocol(self, address):
        self.asked += 1
        return super().buildProtocol(address)


@pytest.fixture
def clients():
    """Connect any number of clients to a port; all are closed at the end."""
    opened = []

    def connect(port, count):
        host = port.getHost()
        opened.extend(socket.create_connection((host.host, host.port)) for _ in range(count))

    yield connect
    for each in opened:
        each.close()


def listening(kind, site):
    """Return a port of `kind` on a socket that listens on loopback."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=20)) as server:
        server.setblocking(False)
        port = kind._fromListeningDescriptor(MemoryReactorClock(), server.fileno(), socket.AF_INET, site)
    port.startListening()
    return port


def close(port):
    """Close a port, and the sockets that it accepted."""
    for member in port.reactor.getReaders():
        if isinstance(member, tcp.Server):
            member.socket.close()
    port.socket.close()


@pytest.mark.parametrize(("kind", "accepted"), [(tcp.Port, 5), (SharedTCPPort, 1)])
def test_a_port_accepts_as_many_as_it_says(kind, accepted, clients):
    """`numberAccepts` bounds the connections of one turn: one for a port that several workers share."""
    site = Site()
    port = listening(kind, site)
    clients(port, 5)
    port.doRead()
    assert site.asked == accepted
    close(port)


def test_a_port_asks_how_many_to_accept_in_each_turn(clients):
    """It looks `numberAccepts` up anew, and sets it after each turn: a property of a subclass takes both."""
    site = Site(room=2)
    port = listening(tcp.Port, site)
    _accept_into_room(port, site)
    clients(port, 5)
    port.doRead()
    assert site.asked == 2
    site.room = 100
    port.doRead()
    assert site.asked > 2
    assert "numberAccepts" not in vars(port)
    close(port)


def test_a_port_made_of_a_socket_keeps_it_until_it_listens():
    """`_preexistingSocket` is the inherited one, and such a port neither binds nor shuts it down."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = tcp.Port._fromListeningDescriptor(
            MemoryReactorClock(), server.fileno(), socket.AF_INET, Site()
        )
        inherited = port._preexistingSocket
        assert inherited.getsockname() == server.getsockname()
        port.startListening()
    assert port.socket is inherited
    assert port._preexistingSocket is None
    assert port._shouldShutdown is False
    port.socket.close()


def test_the_parts_of_a_port_that_are_overridden_exist():
    """What a subclass replaces must still be called by Twisted under this name."""
    assert callable(tcp.Port.createInternetSocket)
    assert callable(tcp.Port._logConnectionLostMsg)
    assert callable(unix.Port._fromListeningDescriptor)
    assert callable(tcp._reservedFD.reserve)


def test_the_sockets_of_systemd_are_asked_of_one_attribute():
    """A worker replaces `_sddaemon` of the endpoint's parser by its own socket."""
    daemon = systemdEndpointParser._sddaemon
    assert callable(daemon.inheritedDescriptors)
    assert callable(daemon.inheritedNamedDescriptors)


# ---- the PROXY protocol: net/proxy_protocol.py


def test_an_haproxy_endpoint_listens_with_a_wrapper_of_a_private_module():
    """`haproxy._wrapper` has the class by which the wrapper is found; `wrappedFactory` is what it wraps."""
    reactor, inner = MemoryReactorClock(), Factory.forProtocol(Protocol)
    serverFromString(reactor, "haproxy:tcp:0").listen(inner)
    ((_, factory, _, _),) = reactor.tcpServers
    assert isinstance(factory, haproxy_wrapper.HAProxyWrappingFactory)
    assert factory.wrappedFactory is inner


# ---- time, signals, logs: net/steady_clock.py, daemon/signals.py


class Clockwork(ReactorBase):
    """As much of a reactor as its timers need."""

    def installWaker(self):
        """Nothing wakes it."""


def test_a_reactor_counts_its_timers_by_its_own_seconds():
    """`seconds` of an instance may be replaced, and is what decides when a call is due."""
    reactor = Clockwork()
    reactor.seconds = lambda: 1000.0
    call = reactor.callLater(5, list)
    assert isinstance(call, DelayedCall)
    assert call.getTime() == 1005.0
    assert reactor.timeout() == 5.0
    call.cancel()


@pytest.mark.usefixtures("own_signals")
def test_the_log_file_of_twistd_is_in_the_handler_of_its_signal(tmp_path):
    """twistd keeps its log file only in the closure of its handler for SIGUSR1."""
    from twisted.scripts._twistd_unix import UnixAppLogger

    logger = UnixAppLogger({"logfile": str(tmp_path / "twistd.log"), "nodaemon": False, "syslog": None})
    observer = logger._getLogObserver()
    log_file = twistd_log_file()
    assert isinstance(log_file, LogFile)
    assert log_file.path == str(tmp_path / "twistd.log")
    assert log_file.rotateLength > 0
    assert callable(log_file.reopen)
    assert observer is not None
    assert callable(signal.getsignal(signal.SIGUSR1))
    log_file.close()


# ---- twisted.web: net/twisted_request.py, downstream/channel.py


def test_a_request_reads_forms_only_if_it_is_told_to():
    """`_parsePOSTFormSubmission` is the switch, `_adapterCache` what zope's adapters are kept in."""
    site = TwistedSite(Resource(), parsePOSTFormSubmission=False)
    channel = HTTPChannel()
    channel.site = site
    channel.transport = Transport()
    request = Request(channel)
    assert request._parsePOSTFormSubmission is False
    assert request._adapterCache == {}


# ---- nowhere else

ROOT = Path(openai_proxy.__file__).parent
PRIVATE = re.compile(r"_[A-Za-z]\w*")
TWISTED_STYLE = re.compile(r"_+[a-z]+[A-Z]\w*")
"""Names of ours are written in lower case: a private one that is not is Twisted's, even if it is defined here."""
OTHERS = {
    "upstream/client.py: _agent",
    "command/grammar.py: _SubParsersAction",
    "command/grammar.py: _actions",
    "command/grammar.py: _choices_actions",
    "command/operator_options.py: _MutuallyExclusiveGroup",
}
"""Not Twisted's: the agent of treq's client that ours is a kind of, and what argparse knows of a command's options."""


def private_names(tree):
    """Return (all names that a module defines, the private ones that it uses)."""
    defined, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
            if (
                isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            ):
                defined.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("attr"):
            used |= {each.value for each in node.args[1:2] if isinstance(each, ast.Constant)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twisted."):
            used |= {
                f"{name} of Twisted"
                for name in (*node.module.split("."), *(each.name for each in node.names))
            }
        elif isinstance(node, ast.Import):
            used |= {
                f"{name} of Twisted"
                for each in node.names
                if each.name.startswith("twisted.")
                for name in each.name.split(".")
            }
    return defined, {name for name in used if PRIVATE.match(name)}


def borrowed_outside(sources):
    """Return `path: name` for each private name that modules outside `net/` use and the package does not define."""
    found = {path: private_names(ast.parse(text)) for path, text in sources.items()}
    ours = set().union(*(defined for defined, _ in found.values()))
    return {
        f"{path}: {name}"
        for path, (defined, used) in found.items()
        if not path.startswith("net/")
        for name in used | {each for each in defined if TWISTED_STYLE.fullmatch(each)}
        if name not in ours or TWISTED_STYLE.fullmatch(name)
    }


def test_private_names_of_twisted_stand_only_in_net():
    """So that whoever takes a new release knows where to look."""
    sources = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in ROOT.rglob("*.py")}
    assert borrowed_outside(sources) == OTHERS


@pytest.mark.parametrize(
    "line",
    [
        "from twisted.internet._sslverify import IOpenSSLTrustRoot",
        "from twisted.protocols.haproxy import _wrapper as stock",
        "import twisted.internet._sslverify",
        "print(transport._aborting)",
        "print(getattr(transport, '_tempDataLen', 0))",
        "class Port(tcp.Port):\n    def _logConnectionLostMsg(self): ...",
        "class Request(Stock):\n    _parsePOSTFormSubmission = False",
        "parser._sddaemon = None",
    ],
)
def test_a_borrowed_name_is_found(line):
    """Imported, looked up, overridden or set; in `net/` it may be."""
    own = "class Ours:\n    def __init__(self): self._ours = self.__dict__\n    def f(self): return self._ours\n"
    assert borrowed_outside({"net/a.py": line, "daemon/b.py": own}) == set()
    assert len(borrowed_outside({"daemon/a.py": line, "daemon/b.py": own})) == 1
