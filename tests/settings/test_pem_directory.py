"""The directory of a tls: endpoint is looked at before anything listens."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.settings import SettingsError, check_endpoints, load_settings
from openai_proxy.settings.pem_directory import check_pem_directory, pem_directory


def made(name, issuer=None, signer=None):
    """Return a private key, its certificate, and both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signer or key, SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key, subject, key_pem, certificate.public_bytes(Encoding.PEM)


ROOT_KEY, ROOT, ROOT_KEY_PEM, ROOT_PEM = made("root.test")
_, _, KEY_PEM, CERTIFICATE_PEM = made("localhost", ROOT, ROOT_KEY)


def tried(tmp_path, **files):
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    check_endpoints(MemoryReactorClock(), load_settings({"ports": [f"tls:{tmp_path}:0"]}, {}, tmp_path))


@pytest.mark.parametrize(
    ("endpoint", "directory"),
    [
        ("tls:/pem:8443", "/pem"),
        (r"haproxy:tls:/a\:b:8443", "/a:b"),
        ("tls:port=8443:path=/pem", "/pem"),
        ("tls", None),
        ("tcp:8080", None),
        (":", None),
        ("unix:tls", None),
    ],
)
def test_directory_of_an_endpoint(endpoint, directory):
    """It is found after haproxy:, escaped, and by its name."""
    assert pem_directory(endpoint) == (directory and Path(directory))


def test_certificate_and_key_in_one_file_or_two(tmp_path):
    """As certbot writes them, and self-signed as for a first try."""
    (tmp_path / "both.pem").write_bytes(ROOT_PEM + ROOT_KEY_PEM)
    (tmp_path / "key.pem").write_bytes(KEY_PEM)
    (tmp_path / "certificate.pem").write_bytes(CERTIFICATE_PEM)
    check_pem_directory(tmp_path)  # not by check_endpoints: Twisted's own reading warns of pyOpenSSL's future


def test_relative_directory_means_the_working_directory(tmp_path):
    """As for every other path."""
    settings = load_settings({"ports": ["tls:pem:0"]}, {}, tmp_path)
    with pytest.raises(SettingsError, match=f"{tmp_path}/pem is no directory"):
        check_endpoints(MemoryReactorClock(), settings)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no .*pem file"),
        ({"key": KEY_PEM}, "no .*pem file"),
        ({"certificate": CERTIFICATE_PEM, "key": ROOT_KEY_PEM}, "no .*pem file"),
        ({"broken": b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"}, "broken.pem"),
        ({"broken": b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"}, "broken.pem"),
        ({"both": CERTIFICATE_PEM + KEY_PEM, "root": ROOT_PEM}, "root.pem.*self-signed"),
    ],
    ids=["empty", "key alone", "another key", "bad certificate", "bad key", "root"],
)
def test_refused(tmp_path, files, reason):
    """The daemon started, and failed every handshake; with a root CA in the directory it hung."""
    with pytest.raises(SettingsError, match=rf"^ports \(from --port\): .*{reason}") as caught:
        tried(tmp_path, **files)
    assert "\n" not in str(caught.value)


def test_directory_that_is_not_there(tmp_path):
    """One line instead of a port at which every handshake fails."""
    with pytest.raises(SettingsError, match="nope is no directory"):
        tried(tmp_path / "nope")
