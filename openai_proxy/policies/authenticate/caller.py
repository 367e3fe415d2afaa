"""Identify the caller in pass-through mode: who pays, and whose answers must be kept apart.

Pure. These are two questions. The credential that the upstream will use names
who pays, so adding a made-up one does not open a second account. All
credentials together separate cached answers and connections: only the upstream
knows which one counts, so a request that shows one of two credentials must not
be taken for one that shows both.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias

from attrs import define

from ...exchange.bounded_memo import Learned
from ...exchange.errors import MalformedRequest
from ...exchange.record import HeaderPairs
from .credentials import CREDENTIAL_HEADERS, bearer_token, subprotocol_keys

SUBPROTOCOL = b"sec-websocket-protocol"
_NAMES_KEPT = 1024
_Shown: TypeAlias = list[tuple[bytes, bytes, bytes]]
"""For each credential: its header's name in lower case, its value, and the value without the word Bearer."""


@define(repr=False)
class Caller:
    """One caller as a request shows it. Never mutated (not frozen: that takes twice the time to make)."""

    credential: bytes
    """All credentials, and the further headers that distinguish callers."""
    payer: str | None
    """The `credential_id` of who pays; None without a credential that the upstream would look at."""


class Callers:
    """Finds the caller of a request.

    `further` are names, in lower case, of more headers that distinguish callers
    (`auth.caller_headers`): requests with different values share nothing.
    `auth_header` is the header that the upstream takes keys in if that is
    not Authorization.
    """

    def __init__(self, further: Iterable[bytes] = (), auth_header: bytes = b"authorization") -> None:
        self._further = frozenset(name.lower() for name in further)
        shown = CREDENTIAL_HEADERS | self._further | {auth_header, SUBPROTOCOL}

        def telling(name: bytes) -> bytes | None:
            lower = name.lower()
            return lower if lower in shown else None

        self._names: Learned[bytes, bytes | None] = Learned(telling, _NAMES_KEPT)
        """Return a header's name in lower case if it distinguishes callers, else None. Names repeat, values do not."""
        first = () if auth_header == b"authorization" else (auth_header,)
        self._paying = tuple(dict.fromkeys((*first, b"authorization", b"api-key", SUBPROTOCOL)))

    def find(self, headers: HeaderPairs) -> Caller | None:
        """Return the caller; None if the request shows no credential.

        Raises MalformedRequest for two values of the credential that pays:
        which of them the upstream takes is not known.
        """
        shown = self._all_shown(headers)
        if not shown:
            return None
        if len(shown) == 1 and shown[0][0] == self._paying[0]:  # nearly always
            _, credential, bare = shown[0]
            return Caller(credential, _id_of(bare))
        paying = self._paying_credential(shown)
        further = _joined([each for each in shown if each[0] in self._further])
        if further or len({bare for _, _, bare in shown}) > 1:
            credential = _joined(shown)
        else:
            credential = shown[0][1] if paying is None else paying
        if further:
            return Caller(
                credential, credential_id(further if paying is None else b"%b\n%b" % (paying, further))
            )
        return Caller(credential, None if paying is None else credential_id(paying))

    def further(self, headers: HeaderPairs) -> bytes:
        """Return the values of the further headers, empty if there are none; for modes with upstream keys of our own."""
        if not self._further:
            return b""
        return _joined([each for each in self._all_shown(headers) if each[0] in self._further])

    def _all_shown(self, headers: HeaderPairs) -> _Shown:
        """Return every credential that is not empty, in order."""
        found: _Shown = []
        names = self._names
        for lower, value in [(lower, value) for name, value in headers if (lower := names[name]) is not None]:
            for credential in subprotocol_keys(value) if lower == SUBPROTOCOL else (value.strip(b" \t"),):
                token = bearer_token(credential)
                if credential and token != b"":
                    found.append((lower, credential, token or credential))
        return found

    def _paying_credential(self, shown: _Shown) -> bytes | None:
        for paying in self._paying:
            found = [each for each in shown if each[0] == paying]
            if len({bare for _, _, bare in found}) > 1:
                raise MalformedRequest("Several different credentials of one kind: send one.")
            if found:
                return found[0][1]
        return None


def _joined(shown: _Shown) -> bytes:
    return b"\n".join([b"%b: %b" % each[:2] for each in sorted(shown)])


def credential_id(credential: bytes) -> str:
    """Return `cred-` and the SHA-256 of `credential` in hex.

    The same key gives the same name however it is written (`Bearer`,
    `bearer`, `api-key`), so that no spelling opens a second bucket. Not
    remembered: a memo would hold clear keys after their connections.
    """
    return _id_of(bearer_token(credential) or credential)


def _id_of(bare: bytes) -> str:
    return "cred-" + sha256(bare).hexdigest()
