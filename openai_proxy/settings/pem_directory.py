"""Check that a `tls:` endpoint's directory contains what TLS needs.

If something is missing, handshakes at its port would fail. Reads files;
imported only by endpoints.
"""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound, Version

from ..net.pem_directory import public_half, read_pem_directory

_PART = re.compile(r"(?:\\.|[^:\\])+", re.S)


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
    (Twisted follows its issuer for ever), and for a server certificate without
    its key, whose names would no longer be served.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory} is no directory")
    found = read_pem_directory(directory)
    keys, certificates = found.keys, [(file, certificate) for file, certificate, _ in found.certificates]
    if not any(public_half(certificate) in keys for _, certificate in certificates):
        raise ValueError(f"no *.pem file in {directory} holds a certificate, with its private key there too")
    for file, certificate in certificates:
        if certificate.issuer == certificate.subject and public_half(certificate) not in keys:
            raise ValueError(f"{file} has a self-signed certificate, such as a root CA's: take it out")
        if public_half(certificate) not in keys and not _is_authority(certificate):
            raise ValueError(f"{file} has a server's certificate whose private key is not there")


def _is_authority(certificate: Certificate) -> bool:
    """Return whether a certificate signs others: without its key it is part of a chain."""
    try:
        return bool(certificate.extensions.get_extension_for_class(BasicConstraints).value.ca)
    except ExtensionNotFound:
        return certificate.version is Version.v1
    except ValueError:  # an unreadable extension does not count
        return True
