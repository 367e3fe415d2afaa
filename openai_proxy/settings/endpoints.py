"""Check that Twisted can parse the endpoint strings."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.endpoints import serverFromString

from ..net.endpoints import check_certificates, why_unusable
from ..net.tls_endpoints import has_certificates
from .endpoint_hints import meant_endpoint
from .errors import shown
from .model import Settings
from .pem_directory import check_pem_directory, pem_directory

_NOWHERE = re.compile(r"(?:haproxy:)?unix:(?:address=)?(?::.*)?", re.S)
"""A Unix socket with an empty path: the system would choose a name that nobody knows."""


def check_endpoints(reactor: Any, settings: Settings) -> None:
    """Parse every endpoint string without opening anything. Raises SettingsError for the first that is broken."""
    strings = [("ports", text) for text in settings.ports]
    if settings.admin.port is not None:
        strings.append(("admin.port", settings.admin.port))
    for path, text in strings:
        try:
            if _NOWHERE.fullmatch(text.strip()):
                raise ValueError("its path is empty")
            directory = pem_directory(text)
            if directory is not None:
                check_pem_directory(settings.directory / directory)
            if has_certificates(text):
                check_certificates(reactor, text)
            else:
                serverFromString(reactor, text)
        except Exception as error:
            # parsers are plugins of any package: whatever they raise means that the string is invalid
            reason = why_unusable(error)
            meant = meant_endpoint(text)
            hint = f"; did you mean {meant}?" if meant else ""
            raise settings.error(path, f"{shown(text)} is no usable endpoint: {reason}{hint}") from None
