"""Whether Twisted can make something of the endpoint strings."""

from __future__ import annotations

import re
from typing import Any

from OpenSSL.SSL import Error as OpenSSLError
from twisted.internet.endpoints import serverFromString

from .errors import shown
from .model import Settings
from .pem_directory import check_pem_directory, pem_directory

_UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument ('[^']*')")


def check_endpoints(reactor: Any, settings: Settings) -> None:
    """Parse every endpoint string, opening nothing. Raises SettingsError for the first that is broken."""
    strings = [("ports", text) for text in settings.ports]
    if settings.admin.port is not None:
        strings.append(("admin.port", settings.admin.port))
    for path, text in strings:
        try:
            directory = pem_directory(text)
            if directory is not None:
                check_pem_directory(settings.directory / directory)
            serverFromString(reactor, text)
        except Exception as error:
            # the parsers are anybody's plugins: whatever they raise means that the string is no good
            reason = _reason(error)
            raise settings.error(path, f"{shown(text)} is no usable endpoint: {reason}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if isinstance(error, OpenSSLError):
        return "its key or certificate can not be read"
    if isinstance(error, IndexError | KeyError):
        return "no such socket was passed on"
    unknown = _UNKNOWN_ARGUMENT.search(str(error))
    if unknown:
        return f"it takes no argument {unknown[1]}"
    return " ".join(str(error).split()) or type(error).__name__
