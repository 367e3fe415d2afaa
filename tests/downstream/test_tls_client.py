"""A client that speaks TLS to the edge, in memory: how its connection ends."""

import ssl
from contextlib import suppress

import pytest
import trustme
from fakes import Downstream, Transport

from openai_proxy.net.server_tls import ServerSide, pair_context
from openai_proxy.net.tls import TLSTransport


class Client:
    """A connection with TLS to a Downstream."""

    def __init__(self, downstream, directory):
        authority = trustme.CA()
        pem = directory / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(trusting)
        self.bios = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trusting.wrap_bio(*self.bios, server_hostname="localhost")
        self.transport = Transport()
        channel = downstream.site.buildProtocol(None)
        side = ServerSide(pair_context(str(pem), str(pem)))
        self.connection = TLSTransport(channel, side, downstream.clock.callLater)
        self.connection.makeConnection(self.transport)
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.turn()

    def turn(self):
        data = self.bios[1].read()
        if data:
            self.connection.dataReceived(data)
        self.bios[0].write(self.transport.take())

    def send(self, data):
        """Send; return what came back, and whether the server has said that this was all."""
        self.tls.write(data)
        self.turn()
        read = b""
        with suppress(ssl.SSLWantReadError):
            while more := self.tls.read(1 << 16):
                read += more
            return read, True
        return read, False


@pytest.fixture
def downstream():
    return Downstream(body_bytes=10)


def test_a_client_whose_upload_is_refused_may_finish(downstream, tmp_path):
    """It has the answer and our close_notify, and what it still sends is dropped for a while; then it is cut."""
    client = Client(downstream, tmp_path)
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 9000\r\n\r\n"
    answer, has_ended = client.send(head)
    assert (answer[:13], has_ended) == (b"HTTP/1.1 413 ", True)
    assert client.transport.ended is None
    assert client.send(b"x" * 1000) == (b"", True)
    assert client.transport.ended is None
    downstream.advance(60)
    assert client.transport.ended == "aborted"


def test_a_client_is_not_waited_for_at_the_end(downstream, tmp_path):
    """It gets our close_notify; its own may never come (RFC 8446 §6.1)."""
    client = Client(downstream, tmp_path)
    answer, has_ended = client.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (answer[:13], has_ended) == (b"HTTP/1.1 200 ", True)
    assert client.transport.ended == "closed"


def test_a_handshake_has_the_time_of_a_head(downstream, tmp_path):
    """`limits.header_timeout_s` runs from the moment when the client connects."""
    transport = Transport()
    channel = downstream.site.buildProtocol(None)
    TLSTransport(
        channel, ServerSide(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), downstream.clock.callLater
    ).makeConnection(transport)
    downstream.advance(14)
    assert transport.ended is None
    downstream.advance(2)
    assert transport.ended == "aborted"
