"""Failures of TLS, recognised, and OpenSSL's words for them."""

from __future__ import annotations

import re
import ssl

from twisted.python.failure import Failure

_FRAMED = re.compile(r"^(?:\[[^\]]*\] )?(.*?)(?: \(_ssl\.c:\d+\))?$", re.S)


def is_tls_failure(failure: Failure) -> bool:
    """Return whether a failure is an error of TLS."""
    return isinstance(failure.value, ssl.SSLError)


def openssl_words(error: object) -> str:
    """Return OpenSSL's reason in an ssl.SSLError, in lower case: `http request`; empty for anything else."""
    if not isinstance(error, ssl.SSLError) or len(error.args) < 2:
        return ""
    found = _FRAMED.match(str(error.args[1]))
    return found[1].lower() if found else ""
