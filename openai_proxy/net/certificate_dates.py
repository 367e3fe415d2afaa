"""Read the expiry of certificates: of a file, or of those that endpoint strings name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SPLIT = re.compile(r"(?<!\\):")


def ends_of(descriptions: Iterable[str]) -> dict[str, float]:
    """Return the earliest expiry of each endpoint string's certificates, in seconds since the epoch.

    Strings without certificates, and files that cannot be read, are left out.
    """
    ends: dict[str, float] = {}
    for description in descriptions:
        found = [end for path in _files(description) if (end := end_of(path)) is not None]
        if found:
            ends[description] = min(found)
    return ends


def _files(description: str) -> Iterator[Path]:
    """Yield the files of `ssl:…:certKey=FILE` and of `tls:DIRECTORY:…`, also after `haproxy:`."""
    words = [re.sub(r"\\(.)", r"\1", word) for word in _SPLIT.split(description)]
    while words and words[0].lower() == "haproxy":
        del words[0]
    kind = words[0].lower() if words else ""
    if kind == "ssl":
        named = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        file = named.get("certKey") or named.get("privateKey")
        if file is not None:
            yield Path(file)
    elif kind == "tls" and len(words) > 1:
        yield from sorted(Path(words[1]).glob("*.pem"))


def end_of(path: Path) -> float | None:
    """Return the expiry of the first certificate of a PEM file, which is its owner's; None if it cannot be read."""
    try:
        found = _CERTIFICATE.search(path.read_bytes())
        return (
            None
            if found is None
            else x509.load_pem_x509_certificate(found[0]).not_valid_after_utc.timestamp()
        )
    except (OSError, ValueError):
        return None
