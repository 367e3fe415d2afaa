"""TLS towards an upstream, in memory, against certificates of our own: who is verified, and why one was refused."""

import datetime
import ssl
from contextlib import suppress

import pytest
import trustme
from fakes import Transport
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from openai_proxy.net.client_tls import VerifyingClient, explain
from openai_proxy.net.origin import ClientCertificate, parse_origin
from openai_proxy.net.tls import TLSTransport
from openai_proxy.upstream.tls import ClientTLS, load_certificates


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@implementer(IHandshakeListener)
class Client(Protocol):
    """Remembers how its handshake ended."""

    verified = False
    lost = None

    def handshakeCompleted(self):
        self.verified = True

    def connectionLost(self, reason):
        self.lost = self.lost or reason


class Handshake:
    """A client of ours and a server with `certificate`; `reason` says why it failed, in our words."""

    def __init__(self, tls, host, certificate, configure=None, identity=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if configure is not None:
            configure(context)
        self.server_name = None
        context.sni_callback = self.take_name
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(received, sent, server_side=True)
        origin = parse_origin(f"https://{host}").identified_by(identity)
        self.host = origin.host
        self.creator = tls.connecting_to(origin)
        self.talk(received, sent)

    def take_name(self, _, name, context):
        self.server_name = name

    def talk(self, received, sent):
        client = self.client = Client()
        wrapped = TLSTransport(client, self.creator, Clock().callLater)
        transport = Transport()
        wrapped.makeConnection(transport)
        failed = False
        for _ in range(10):
            received.write(transport.take())
            try:
                if not failed:
                    self.server.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:  # an alert, ours or the client's
                failed = True
            data = sent.read()
            if data and transport.ended is None:
                wrapped.dataReceived(data)
        if transport.ended is not None:
            wrapped.connectionLost(Failure(ConnectionError()))

    @property
    def failure(self):
        return explain(self.client.lost, self.host, self.creator.refusal)


def test_a_certificate_of_a_further_ca_is_trusted(authority, ca_file):
    """`upstream.ca_file` adds to the system's store; HTTP/1.1 is what is spoken."""
    done = Handshake(ClientTLS(ca_file), "localhost", authority.issue_cert("localhost"))
    assert done.client.verified
    assert done.client.lost is None
    assert done.server.selected_alpn_protocol() == "http/1.1"
    assert done.server_name == "localhost"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_is_verified_as_an_address(authority, ca_file, host):
    """An upstream may be an IP address that its certificate names; it is no server name (RFC 6066 §3)."""
    done = Handshake(ClientTLS(ca_file), host, authority.issue_cert(host.strip("[]")))
    assert done.client.verified
    assert done.server_name is None


class Named:
    """A certificate for names that trustme refuses, self-signed."""

    def __init__(self, *names, days=(-60, 30)):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        now = datetime.datetime.now(datetime.timezone.utc)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now + datetime.timedelta(days[0]))
        builder = builder.not_valid_after(now + datetime.timedelta(days[1]))
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.add_extension(x509.BasicConstraints(True, None), True).sign(
            key, hashes.SHA256()
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, path):
        path.write_bytes(self.pem + self.key)
        return path

    def configure_cert(self, context):
        context.load_cert_chain(self.file)


def self_signed(tmp_path, *names, **options):
    """Return a certificate, and the file that makes it trusted."""
    certificate = Named(*names, **options)
    certificate.file = certificate.write(tmp_path / "server.pem")
    return certificate


@pytest.mark.parametrize("host", ["llm_server", "ab--cd", "proj_vllm_1", "b\u00fcro.example"])
def test_every_name_that_resolves_can_be_verified(tmp_path, host):
    """Names of Compose are verified as they stand; a name in another script by its encoded form."""
    ascii_name = parse_origin(f"https://{host}").host
    certificate = self_signed(tmp_path, ascii_name)
    done = Handshake(ClientTLS(certificate.file), host, certificate)
    assert done.client.verified
    assert done.server_name == ascii_name


def test_a_dot_at_the_end_of_a_name_is_none_of_the_name(tmp_path):
    """`host.` is absolute for the resolver; certificates and SNI have no such dot (RFC 6066 §3)."""
    certificate = self_signed(tmp_path, "a.example")
    done = Handshake(ClientTLS(certificate.file), "a.example.", certificate)
    assert done.client.verified
    assert done.server_name == "a.example"


@pytest.mark.parametrize("host", ["llm_server", "other.example", "127.0.0.1"])
def test_another_name_is_refused_and_both_are_said(authority, ca_file, host):
    """Who has moved a server sees at once which name the certificate has."""
    done = Handshake(ClientTLS(ca_file), host, authority.issue_cert("localhost", "*.a.example"))
    assert not done.client.verified
    assert done.failure.reason == f"its certificate is for localhost, *.a.example, not for {host}"
    assert not done.failure.may_heal


def test_a_stranger_s_names_are_shown_within_bounds(authority, ca_file):
    """A certificate may hold thousands of names."""
    names = [f"n{number}.example" for number in range(40)]
    done = Handshake(ClientTLS(ca_file), "localhost", authority.issue_cert(*names))
    assert done.failure.reason == (
        "its certificate is for n0.example, n1.example, n2.example, n3.example, n4.example and 35 more,"
        " not for localhost"
    )


def test_a_certificate_without_names_is_refused(tmp_path):
    """The common name does not count (RFC 9110 §4.3.4)."""
    certificate = self_signed(tmp_path)
    done = Handshake(ClientTLS(certificate.file), "localhost", certificate)
    assert done.failure.reason == "its certificate names no host, so it is not that of localhost"


def test_an_unknown_authority_is_refused(authority):
    """Neither request nor retry goes to it."""
    done = Handshake(ClientTLS(), "localhost", authority.issue_cert("localhost"))
    assert not done.client.verified
    assert done.failure.reason == "its certificate comes from an unknown authority"
    assert not done.failure.may_heal


def test_a_self_signed_certificate_is_refused(tmp_path):
    """That is the usual case of a machine next door: it needs `upstream.ca_file`."""
    done = Handshake(ClientTLS(), "localhost", self_signed(tmp_path, "localhost"))
    assert done.failure.reason == "its certificate is self-signed by an unknown authority"


@pytest.mark.parametrize(
    ("days", "reason"), [((-60, -5), "expired on 20"), ((5, 60), "is not valid before 20")]
)
def test_the_day_of_an_expired_certificate_is_said(tmp_path, days, reason):
    """So that nobody has to look for it with openssl."""
    certificate = self_signed(tmp_path, "localhost", days=days)
    done = Handshake(ClientTLS(certificate.file), "localhost", certificate)
    assert f"its certificate {reason}" in done.failure.reason
    assert not done.failure.may_heal


def wants_certificate(authority, version):
    def configure(context):
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
        context.minimum_version = context.maximum_version = version

    return configure


TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_client_certificate_that_is_wanted_is_said(authority, ca_file, version):
    """In TLS 1.3 the server refuses after our handshake, in 1.2 with an alert that may mean more."""
    certificate = authority.issue_cert("localhost")
    done = Handshake(ClientTLS(ca_file), "localhost", certificate, wants_certificate(authority, version))
    assert done.client.verified is (version is TLS13)
    assert "wants a client certificate" in done.failure.reason
    assert not done.failure.may_heal


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("files", [1, 2])
def test_a_client_certificate_is_shown(authority, ca_file, tmp_path, version, files):
    """Certificate and key may stand in two files or in one."""
    ours = authority.issue_cert("proxy.example")
    both = tmp_path / "both.pem"
    ours.private_key_and_cert_chain_pem.write_to_path(str(both))
    key = tmp_path / "key.pem"
    ours.private_key_pem.write_to_path(str(key))
    identity = ClientCertificate(str(both), str(key) if files == 2 else None)
    configure = wants_certificate(authority, version)
    done = Handshake(ClientTLS(ca_file), "localhost", authority.issue_cert("localhost"), configure, identity)
    assert done.client.verified
    assert done.client.lost is None
    assert ("DNS", "proxy.example") in done.server.getpeercert()["subjectAltName"]


def test_a_client_certificate_of_an_unknown_authority_is_said(authority, ca_file, tmp_path):
    """It is ours that is refused, not theirs."""
    both = tmp_path / "both.pem"
    trustme.CA().issue_cert("p.example").private_key_and_cert_chain_pem.write_to_path(str(both))
    configure = wants_certificate(authority, TLS13)
    identity = ClientCertificate(str(both))
    done = Handshake(ClientTLS(ca_file), "localhost", authority.issue_cert("localhost"), configure, identity)
    assert "does not accept the client certificate of this proxy" in done.failure.reason


def test_no_version_in_common_is_said(authority, ca_file):
    """Old servers speak TLS 1.1 at most."""

    def old(context):
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.warns(DeprecationWarning, match="TLS"):
        done = Handshake(ClientTLS(ca_file), "localhost", authority.issue_cert("localhost"), old)
    assert done.failure.reason == "there is no version of TLS in common"


@pytest.mark.parametrize(
    ("said", "reason", "may_heal"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS is spoken there; perhaps it is plain http", False),
        (b"SSH-2.0-OpenSSH_9\r\n", "no TLS is spoken there; perhaps it is plain http", False),
        (b"\x15\x03\x03\x00\x02\x02\x70", "it does not know the host name localhost", False),
        (b"\x15\x03\x03\x00\x02\x02\x46", "there is no version of TLS in common", False),
        (b"\x15\x03\x03\x00\x02\x02\x78", "it does not speak HTTP/1.1 over TLS", False),
        (b"\x15\x03\x03\x00\x02\x02\x50", "it broke off the handshake (", True),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "TLS protocol error: ", False),
        (b"", "it closed the connection in the TLS handshake", True),
    ],
)
def test_what_is_no_handshake_is_said(said, reason, may_heal):
    """Alerts (RFC 8446 §6.2), other protocols, silence."""
    creator = ClientTLS().connecting_to(parse_origin("https://localhost"))
    client = Client()
    wrapped = TLSTransport(client, creator, Clock().callLater)
    wrapped.makeConnection(Transport())
    if said:
        wrapped.dataReceived(said)
    wrapped.connectionLost(Failure(ConnectionError()))
    failure = explain(client.lost, "localhost", creator.refusal)
    assert failure.reason.startswith(reason)
    assert failure.may_heal is may_heal


def test_a_context_is_made_once_for_each_identity(ca_file, authority, tmp_path):
    """Contexts are costly, and identities are few; a bad one is known at the start."""
    tls = ClientTLS(ca_file)
    first, second = (tls.connecting_to(parse_origin(f"https://{name}.example")) for name in "ab")
    assert first is not second
    assert first._context is second._context
    with pytest.raises(ValueError, match="key"):
        tls.load(ClientCertificate(str(ca_file), str(ca_file)))


class Resuming:
    """A client of ours that connects to one server again and again; `resumed` says how each connection went."""

    def __init__(self, authority, ca_file, version):
        self.now = 0.0
        self.tls = ClientTLS(ca_file, lambda: self.now)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = self.context.maximum_version = version
        authority.issue_cert("localhost", "other.example").configure_cert(self.context)

    def connect(self, host="localhost", identity=None):
        """Make a connection, have a byte answered; return whether its session was resumed."""
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self.context.wrap_bio(received, sent, server_side=True)
        client, transport = Client(), Transport()
        origin = parse_origin(f"https://{host}").identified_by(identity)
        wrapped = TLSTransport(client, self.tls.connecting_to(origin), Clock().callLater)
        wrapped.makeConnection(transport)
        for _ in range(4):
            received.write(transport.take())
            with suppress(ssl.SSLWantReadError):
                server.do_handshake()
                if client.verified:
                    server.write(b"x")
            if data := sent.read():
                wrapped.dataReceived(data)
        assert client.verified
        assert client.lost is None
        return server.session_reused


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_session_is_resumed(authority, ca_file, tmp_path, version):
    """A new connection to a server that knows us costs neither side a signature; each origin has its own session."""
    resuming = Resuming(authority, ca_file, version)
    ours = tmp_path / "both.pem"
    authority.issue_cert("proxy.example").private_key_and_cert_chain_pem.write_to_path(str(ours))
    identity = ClientCertificate(str(ours))
    assert [resuming.connect() for _ in range(3)] == [False, True, True]
    assert [resuming.connect("other.example") for _ in range(2)] == [False, True]
    assert [resuming.connect(identity=identity) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_server_is_verified_anew_each_hour(authority, ca_file, version):
    """However often its session was resumed meanwhile: a resumed one does not look at the chain."""
    resuming = Resuming(authority, ca_file, version)
    found = []
    for minutes in (0, 25, 50, 75, 100, 125):
        resuming.now = minutes * 60.0
        found.append(resuming.connect())
    assert found == [False, True, True, False, True, True]


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_the_name_is_verified_in_a_resumed_session_too(authority, ca_file, version, monkeypatch):
    """Before a byte of the request is sent."""
    resuming = Resuming(authority, ca_file, version)
    resuming.connect()
    seen = []
    verify = VerifyingClient.check
    monkeypatch.setattr(VerifyingClient, "check", lambda self, tls: [seen.append(tls), verify(self, tls)])
    assert resuming.connect()
    assert [tls.session_reused for tls in seen] == [True]


def test_a_stranger_is_not_shown_our_certificate(authority, ca_file, tmp_path):
    """TLS 1.3: a server with a trusted certificate of another name learns neither who we are nor that we stayed."""
    both = tmp_path / "both.pem"
    authority.issue_cert("proxy.example").private_key_and_cert_chain_pem.write_to_path(str(both))
    configure, identity = wants_certificate(authority, TLS13), ClientCertificate(str(both))
    done = Handshake(
        ClientTLS(ca_file), "localhost", authority.issue_cert("other.example"), configure, identity
    )
    assert not done.client.verified
    with pytest.raises(ValueError, match="handshake not done"):
        done.server.getpeercert()


def test_all_certificates_of_a_file_are_read(authority, tmp_path):
    """A file may hold a chain, with words between."""
    path = tmp_path / "all.pem"
    pems = [ca.cert_pem.bytes() for ca in (authority, trustme.CA())]
    path.write_bytes(b"# first\n" + pems[0] + b"\n# second\n" + pems[1])
    assert len(set(load_certificates(path))) == 2


@pytest.mark.parametrize("text", [b"", b"no certificate\n"])
def test_a_file_without_certificates_is_refused(tmp_path, text):
    """A mistake stops the start, not the first request."""
    path = tmp_path / "ca.pem"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="no certificate"):
        load_certificates(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """So is one that cannot be read."""
    with pytest.raises(OSError, match=r"ca\.pem"):
        load_certificates(tmp_path / "ca.pem")
