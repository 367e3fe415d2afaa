"""Our TLS transport and pyOpenSSL's at the other end, all in memory."""

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from fakes import Transport
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from openai_proxy.net.client_tls import VerifyingClient, client_context
from openai_proxy.net.server_tls import ServerSide, pair_context
from openai_proxy.net.tls import TLSTransport

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@implementer(IHandshakeListener)
class Ours(Protocol):
    """The protocol above our transport."""

    def __init__(self):
        self.received, self.reads, self.lost, self.verified = b"", 0, [], 0
        self.on_data = lambda: None

    def handshakeCompleted(self):
        self.verified += 1

    def dataReceived(self, data):
        assert not self.lost
        self.received += data
        self.reads += 1
        self.on_data()

    def connectionLost(self, reason):
        self.lost.append(reason.value)


class Files:
    """An authority, a certificate of it with its key, and contexts of both sides."""

    def __init__(self, directory):
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("localhost")
        self.certificate, self.key, self.ca = (str(directory / name) for name in ("c.pem", "k.pem", "ca.pem"))
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        issued.private_key_pem.write_to_path(self.key)
        self.authority.cert_pem.write_to_path(self.ca)
        self.trusted = ssl.PEM_cert_to_DER_cert(self.authority.cert_pem.bytes().decode())
        self.server = pair_context(self.certificate, self.key)
        self.client = client_context(trusted=self.trusted, trusts_system=False)
        self.theirs = {
            (we_serve, version): self.context(we_serve, VERSIONS[version])
            for we_serve in (True, False)
            for version in VERSIONS
        }

    def context(self, we_serve, version):
        """Return the other end's."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD if we_serve else SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if not we_serve:
            context.use_certificate_file(self.certificate)
            context.use_privatekey_file(self.key)
        return context


with TemporaryDirectory() as folder:
    FILES = Files(Path(folder))


class TLSPair:
    """Our transport, a server or a client, and pyOpenSSL's connection at the other end."""

    def __init__(self, we_serve=True, version="1.3"):
        self.clock, self.ours, self.below = Clock(), Ours(), Transport()
        side = ServerSide(FILES.server) if we_serve else VerifyingClient(FILES.client, "localhost")
        self.theirs = SSL.Connection(FILES.theirs[we_serve, version], None)
        if we_serve:
            self.theirs.set_connect_state()
        else:
            self.theirs.set_accept_state()
        self.transport = TLSTransport(self.ours, side, self.clock.callLater)
        self.transport.makeConnection(self.below)
        self.received, self.their_end = b"", None
        self.to_us = b""
        """Written by the other end, and not with us yet."""

    def shake_hands(self):
        for _ in range(4):
            try:
                self.theirs.do_handshake()
            except SSL.WantReadError:
                pass
            self.take_theirs()
            self.arrive(len(self.to_us))
            self.pump_ours()
        assert self.ours.verified
        return self

    def take_theirs(self):
        """Collect what the other end's TLS wants to send."""
        try:
            while True:
                self.to_us += self.theirs.bio_read(1 << 16)
        except SSL.WantReadError:
            pass

    def arrive(self, size):
        """Let so many bytes arrive at our end, unless it does not read."""
        data, self.to_us = self.to_us[:size], self.to_us[size:]
        if data:
            self.transport.dataReceived(data)

    def pump_ours(self):
        """Let what we sent arrive at the other end."""
        data = self.below.take()
        if data:
            self.theirs.bio_write(data)
        try:
            while self.their_end is None:
                self.received += self.theirs.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.their_end = "close_notify"
        self.take_theirs()

    def they_write(self, data):
        while data:
            data = data[self.theirs.send(data[: 1 << 14]) :]
        self.take_theirs()

    def they_say_goodbye(self):
        try:
            self.theirs.shutdown()
        except SSL.Error:
            pass  # ours has not come
        self.take_theirs()

    def settle(self):
        """Let everything arrive, with our end reading."""
        self.transport.resumeProducing()
        for _ in range(5):
            self.clock.advance(0)
            self.take_theirs()
            self.arrive(len(self.to_us))
            self.pump_ours()


SIDES = pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we connect"])
OF_VERSIONS = pytest.mark.parametrize("version", VERSIONS)
