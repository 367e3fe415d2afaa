"""Whether a `tls:` endpoint's directory holds what TLS needs.

Twisted takes any directory, an empty or missing one too, and then fails
every handshake. Reads files; imported only by endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtensionNotFound,
    Version,
    load_pem_x509_certificate,
)

_PART = re.compile(r"(?:\\.|[^:\\])+", re.S)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.S)


def pem_directory(endpoint: str) -> Path | None:
    r"""Return the directory of a `tls:` endpoint string, None for other strings.

    >>> pem_directory(r"haproxy:tls:/etc/a\:b:8443")
    PosixPath('/etc/a:b')
    """
    words = _PART.findall(endpoint)
    while words and words[0] == "haproxy":
        del words[0]
    if not words or words[0] != "tls":
        return None
    named = next((word[5:] for word in words[1:] if word.startswith("path=")), None)
    text = named if named is not None else next(iter(words[1:]), None)
    return None if text is None else Path(re.sub(r"\\(.)", r"\1", text))


def check_pem_directory(directory: Path) -> None:
    """Raise ValueError if no certificate with its private key is below `directory`.

    Also for a self-signed certificate without its key, such as a root CA's
    (Twisted follows its issuer for ever), and for one of a server without
    its key: its names would be served no more.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory} is no directory")
    keys: set[bytes] = set()
    certificates: list[tuple[Path, Certificate]] = []
    for file, label, block in _blocks(directory):
        try:
            if label == b"CERTIFICATE":
                certificates.append((file, load_pem_x509_certificate(block)))
            elif label.endswith(b"PRIVATE KEY"):
                keys.add(_public(load_pem_private_key(block, None)))
        except (ValueError, TypeError):
            raise ValueError(f"{file} has a {label.decode().lower()} that cannot be read") from None
    if not any(_public(certificate) in keys for _, certificate in certificates):
        raise ValueError(f"no *.pem file in {directory} holds a certificate, with its private key there too")
    for file, certificate in certificates:
        if certificate.issuer == certificate.subject and _public(certificate) not in keys:
            raise ValueError(f"{file} has a self-signed certificate, such as a root CA's: take it out")
        if _public(certificate) not in keys and not _is_authority(certificate):
            raise ValueError(f"{file} has a server's certificate whose private key is not there")


def _is_authority(certificate: Certificate) -> bool:
    """Whether a certificate is one that signs others: without its key it is part of a chain."""
    try:
        return bool(certificate.extensions.get_extension_for_class(BasicConstraints).value.ca)
    except ExtensionNotFound:
        return certificate.version is Version.v1
    except ValueError:  # an extension that cannot be read says nothing
        return True


def _blocks(directory: Path) -> Iterator[tuple[Path, bytes, bytes]]:
    for file in sorted(directory.rglob("*.pem")):
        if file.is_file():
            for block in _BLOCK.finditer(file.read_bytes()):
                yield file, block[1], block[0]


def _public(holder: object) -> bytes:
    key = holder.public_key()  # type: ignore[attr-defined]  # a certificate, or a private key of any kind
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
