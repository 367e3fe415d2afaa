"""The certificates and private keys in the *.pem files of a directory, as `tls:` endpoints use them. Reads files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    SubjectAlternativeName,
    load_pem_x509_certificate,
)

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.S)
_LONGEST_CHAIN = 10


@frozen
class PemDirectory:
    """The contents of the files: each certificate with its file and its PEM, in order; each key by its public key."""

    certificates: list[tuple[Path, Certificate, bytes]]
    keys: dict[bytes, bytes] = field(repr=False)


@frozen
class ServerCertificate:
    """A certificate that a server can show: names in lower case, PEM of certificate and chain, PEM of its key."""

    names: tuple[str, ...]
    chain: bytes
    key: bytes = field(repr=False)


def read_pem_directory(directory: Path) -> PemDirectory:
    """Read every *.pem file below `directory`; raise ValueError for an unreadable one, OSError."""
    found = PemDirectory([], {})
    for file, label, block in _blocks(directory):
        try:
            if label == b"CERTIFICATE":
                found.certificates.append((file, load_pem_x509_certificate(block), block + b"\n"))
            elif label.endswith(b"PRIVATE KEY"):
                found.keys[public_half(load_pem_private_key(block, None))] = block + b"\n"
        except (ValueError, TypeError):
            raise ValueError(f"{file} has a {label.decode().lower()} that cannot be read") from None
    return found


def _blocks(directory: Path) -> Iterator[tuple[Path, bytes, bytes]]:
    for file in sorted(directory.rglob("*.pem")):
        if file.is_file():
            for block in _BLOCK.finditer(file.read_bytes()):
                yield file, block[1], block[0]


def public_half(holder: object) -> bytes:
    """Return the public key of a certificate or of a private key."""
    key = holder.public_key()  # type: ignore[attr-defined]  # a certificate, or a private key of any kind
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def server_certificates(found: PemDirectory) -> list[ServerCertificate]:
    """Return the certificates that have their key, each with its chain from the other certificates."""
    keyless = [(each, pem) for _, each, pem in found.certificates if public_half(each) not in found.keys]
    by_subject = {each.subject: (each, pem) for each, pem in keyless}
    servers = []
    for _, certificate, pem in found.certificates:
        key = found.keys.get(public_half(certificate))
        if key is not None:
            chain = [pem]
            issuer = by_subject.get(certificate.issuer)
            while issuer is not None and len(chain) < _LONGEST_CHAIN:
                chain.append(issuer[1])
                issuer = by_subject.get(issuer[0].issuer) if issuer[0].issuer != issuer[0].subject else None
            servers.append(ServerCertificate(_names(certificate), b"".join(chain), key))
    return servers


def _names(certificate: Certificate) -> tuple[str, ...]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):  # an unreadable extension names nothing
        return ()
    return tuple(name.lower() for name in alternatives.get_values_for_type(DNSName))
