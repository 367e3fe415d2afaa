"""Whom a context trusts: the system, and who is added; a chain that fails is explained in words."""

import ssl

import pytest
import trustme

from openai_proxy.net.client_tls import _why_not_trusted as why_not_trusted
from openai_proxy.net.client_tls import client_context


def subjects(context):
    return {
        dict(entry[0] for entry in each["subject"]).get("organizationName") for each in context.get_ca_certs()
    }


@pytest.fixture
def authority():
    return trustme.CA(organization_name="ours.example")


def test_the_systems_store_may_be_left_out(authority, monkeypatch):
    """As for a Redis that is verified against one certificate."""
    trusted = ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
    assert subjects(client_context(trusted=trusted, trusts_system=False)) == {"ours.example"}


def test_ssl_cert_file_takes_the_systems_place(authority, tmp_path, monkeypatch):
    """As for OpenSSL's own tools; no bundle of a distribution is added."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr("openai_proxy.net.client_tls._BUNDLES", (str(tmp_path / "never.pem"),))
    assert subjects(client_context()) == {"ours.example"}


def test_a_python_without_a_store_finds_the_distributions(authority, tmp_path, monkeypatch):
    """One that was built elsewhere looks for certificates where there are none."""
    path = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(str(path))
    nowhere = ssl.DefaultVerifyPaths(None, None, "SSL_CERT_FILE", "/no", "SSL_CERT_DIR", "/no")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: nowhere)
    monkeypatch.setattr("openai_proxy.net.client_tls._BUNDLES", ("/nowhere", str(path), str(tmp_path)))
    assert "ours.example" in subjects(client_context())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (18, "its certificate is self-signed by an unknown authority"),
        (19, "a certificate of its chain is self-signed by an unknown authority"),
        (20, "its certificate comes from an unknown authority"),
        (21, "its certificate comes from an unknown authority"),
        (10, "its certificate or one of its chain has expired"),
        (9, "its certificate or one of its chain is not valid yet"),
        (23, "its certificate or one of its chain was revoked"),
        (7, "its certificate cannot be verified (OpenSSL's error 7)"),
    ],
)
def test_without_its_chain_a_refusal_is_explained_too(error, words):
    """Python returns what a server sent only by a private method."""
    assert why_not_trusted([], error) == words


def test_the_depth_of_the_certificate_that_nobody_knows():
    """The last one that was sent is the one whose issuer is missing."""
    assert why_not_trusted([None, None], 20) == "a certificate of its chain comes from an unknown authority"
