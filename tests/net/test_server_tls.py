"""The certificates that a port shows: one pair, or a directory by the names that clients ask for."""

import ssl
import sys

import pytest
import trustme
from OpenSSL import SSL

from openai_proxy.net.server_tls import MISMATCH, ServerSide, directory_context, pair_context


class Shown:
    """What a client that trusts `authority` is shown, in memory: `certificate` as DER, `version`, `alpn`, `error`."""

    def __init__(self, context, authority, name="localhost", **limits):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(client)
        client.set_alpn_protocols(["h2", "http/1.1"])
        client.check_hostname = False
        for limit, value in limits.items():
            setattr(client, limit, value)
        bios = [ssl.MemoryBIO() for _ in range(4)]
        asks = client.wrap_bio(bios[0], bios[1], server_hostname=name)
        answers = context.wrap_bio(bios[2], bios[3], server_side=True)
        self.error = None
        for _ in range(6):
            for each in (asks, answers):
                try:
                    each.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    self.error = error
            bios[2].write(bios[1].read())
            bios[0].write(bios[3].read())
        if self.error is None:
            self.certificate, self.version = asks.getpeercert(True), asks.version()
            self.alpn, self.cipher = asks.selected_alpn_protocol(), asks.cipher()[0]


def der(issued):
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def write(path, *blobs):
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return str(path)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.mark.parametrize("source", ["in the certificate's file", "in a file of its own"])
def test_the_chain_is_sent(tmp_path, authority, source):
    """As certbot's fullchain.pem has it, or by `extraCertChain`; HTTP/1.1 is what is spoken."""
    issued = authority.create_child_ca().issue_cert("localhost")
    leaf, *chain = issued.cert_chain_pems
    key = write(tmp_path / "k.pem", issued.private_key_pem)
    if source == "in the certificate's file":
        context = pair_context(write(tmp_path / "c.pem", leaf, *chain), key)
    else:
        context = pair_context(
            write(tmp_path / "c.pem", leaf), key, chain=write(tmp_path / "chain.pem", *chain)
        )
    shown = Shown(context, authority)
    assert (shown.error, shown.certificate, shown.alpn) == (None, der(issued), "http/1.1")


def test_certificate_and_key_in_one_file(tmp_path, authority):
    """Twisted's default, server.pem."""
    issued = authority.issue_cert("localhost")
    both = write(tmp_path / "server.pem", issued.private_key_pem, *issued.cert_chain_pems)
    assert Shown(pair_context(both, both), authority).certificate == der(issued)


def test_versions(tmp_path, authority):
    """TLS 1.2 and 1.3, nothing older; `sslmethod` may choose one."""
    issued = authority.issue_cert("localhost")
    both = write(tmp_path / "server.pem", issued.private_key_pem, *issued.cert_chain_pems)
    old, new = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2
    assert Shown(pair_context(both, both), authority).version == "TLSv1.3"
    assert Shown(pair_context(both, both), authority, maximum_version=new).version == "TLSv1.2"
    assert Shown(pair_context(both, both, method="TLSv1_2_METHOD"), authority).version == "TLSv1.2"
    assert Shown(pair_context(both, both, method="SSLv23_METHOD"), authority).version == "TLSv1.3"
    with pytest.warns(DeprecationWarning, match="TLS"):
        assert Shown(pair_context(both, both), authority, maximum_version=old).error
    with pytest.raises(ValueError, match="not TLSv1_METHOD"):
        pair_context(both, both, method="TLSv1_METHOD")


def test_dh_parameters(tmp_path, authority):
    """For clients without elliptic curves."""
    issued = authority.issue_cert("localhost")
    both = write(tmp_path / "server.pem", issued.private_key_pem, *issued.cert_chain_pems)
    path = tmp_path / "dh.pem"
    path.write_text(FFDHE2048)
    assert pair_context(both, both, dh_parameters=str(path))
    with pytest.raises(OSError, match="nowhere"):
        pair_context(both, both, dh_parameters=str(tmp_path / "nowhere.pem"))


FFDHE2048 = """\
-----BEGIN X9.42 DH PARAMETERS-----
MIICDAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAgKCAQB//////////9b8KixRXaVN
V+4rEBOennjsXOLB5xabStTwmyCKMhn95knO5xJNn3y+l/GxsYY67HtA2QFXYjC9
ae+Paur+srCSGfqPr4M3aEKxsqqe9o152quJrz+r5JrMJ4Y4cHNFu/FTRO159/Q5
DvisUJtW85qYVmUnpB08vV4FWMFZkn2w6IRUpdlkcf3ctW1bsGv6NA6noVHvHKb6
Vyt287G5XYyFg9PkdwU2uE8BfnDm+/F2YBoCZpQaF7DIuX9OdMLB/8cniRl3eUDB
4f8djaY31rmd2v5eF2EQAuLHeMG+i0HZY3mlE2DZd/1ENaEcMJQuS///////////
-----END X9.42 DH PARAMETERS-----
"""
"""RFC 7919's."""


def test_what_does_not_serve(tmp_path, authority):
    """Each is said in words, at the start and at a reload."""
    issued, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    certificate = write(tmp_path / "c.pem", *issued.cert_chain_pems)
    key = write(tmp_path / "k.pem", issued.private_key_pem)
    with pytest.raises(ValueError, match=MISMATCH):
        pair_context(certificate, write(tmp_path / "other.pem", other.private_key_pem))
    with pytest.raises(OSError, match="nowhere") as caught:
        pair_context(certificate, str(tmp_path / "nowhere.pem"))
    assert caught.value.filename == str(tmp_path / "nowhere.pem")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        pair_context(str(tmp_path / "text.pem"), key)
    with pytest.raises(ValueError, match=r"chain file .*text\.pem"):
        pair_context(certificate, key, chain=str(tmp_path / "text.pem"))


def test_a_key_with_a_passphrase_asks_nobody(tmp_path, authority):
    """A daemon has no terminal; it would stand still at its start."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    issued = authority.issue_cert("localhost")
    certificate = write(tmp_path / "c.pem", *issued.cert_chain_pems)
    private = load_pem_private_key(issued.private_key_pem.bytes(), None)
    (tmp_path / "k.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises((ssl.SSLError, ValueError)):
        pair_context(certificate, str(tmp_path / "k.pem"))


def test_without_files_in_memory(tmp_path, authority, monkeypatch):
    """macOS has none: nothing is left of the files that stand in for them, also if the pair is broken."""
    issued = authority.issue_cert("localhost")
    certificate = write(tmp_path / "c.pem", *issued.cert_chain_pems)
    key = write(tmp_path / "k.pem", issued.private_key_pem)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.delattr("os.memfd_create")
    assert Shown(pair_context(certificate, key), authority).certificate == der(issued)
    with pytest.raises(ssl.SSLError):
        pair_context(key, key)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_certificate_of_the_name_that_is_asked_for(tmp_path, authority):
    """By SNI, wildcards too; for any other name, and for none, the first one of the files' order."""
    intermediate = authority.create_child_ca()
    first = intermediate.issue_cert("a.test", "A2.test")
    second = authority.issue_cert("*.b.test")
    (tmp_path / "b").mkdir()
    write(tmp_path / "a.pem", first.cert_chain_pems[0], first.private_key_pem)
    write(tmp_path / "chain.pem", *first.cert_chain_pems[1:])
    write(tmp_path / "b" / "c.pem", *second.cert_chain_pems)
    write(tmp_path / "b" / "k.pem", second.private_key_pem)
    context = directory_context(str(tmp_path))
    shown = {
        name: Shown(context, authority, name).certificate
        for name in ("a.test", "a2.TEST", "x.b.test", "x.y.b.test", "c.test", None)
    }
    assert shown == {
        "a.test": der(first),
        "a2.TEST": der(first),
        "x.b.test": der(second),
        "x.y.b.test": der(first),
        "c.test": der(first),
        None: der(first),
    }
    assert Shown(context, authority, "x.b.test").alpn == "http/1.1"


def test_a_directory_without_a_pair(tmp_path):
    """The port would fail every handshake."""
    with pytest.raises(ValueError, match=r"no .*pem file"):
        directory_context(str(tmp_path))


def test_a_chain_that_goes_round_ends(tmp_path, authority):
    """Two authorities that sign each other, and a root among the files."""
    issued = authority.issue_cert("localhost")
    write(tmp_path / "all.pem", issued.private_key_pem, *issued.cert_chain_pems, authority.cert_pem)
    assert Shown(directory_context(str(tmp_path)), authority).certificate == der(issued)


def test_a_name_that_is_none_is_refused_quietly(tmp_path, authority, capsys):
    """Strangers choose it, and each would have written a traceback into the log."""
    issued = authority.issue_cert("localhost")
    write(tmp_path / "a.pem", issued.private_key_pem, *issued.cert_chain_pems)
    side = ServerSide(directory_context(str(tmp_path)))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = side.begin(incoming, outgoing)
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    client.set_tlsext_host_name(b"\xff\xfe.test")
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    incoming.write(client.bio_read(1 << 16))
    hook = sys.unraisablehook
    with pytest.raises(ssl.SSLError, match="callback failed"):
        side.shake_hands(tls)
    assert sys.unraisablehook is hook
    assert capsys.readouterr().err == ""
