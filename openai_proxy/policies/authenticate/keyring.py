"""The client keys of this proxy, and what each may do.

Keys are kept as SHA-256 digests; the clear key is forgotten at start.
Pure: the wall time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from attrs import field, frozen

from ...exchange.access_errors import ExpiredKey, InvalidKey, KeyBlocked
from ...exchange.client_address import Network
from ..refusal_words import expiry_words
from .organization import Account


@frozen
class ClientKey:
    """One client key, without the key itself.

    `digest` is its SHA-256 (32 bytes). `upstream_key` is sent upstream instead.
    `models` are globs, case-sensitive; None allows every model, an empty tuple
    none. `expires_at` is seconds since the epoch; None means never.
    """

    name: str
    digest: bytes = field(repr=False)
    upstream_key: bytes = field(repr=False)
    models: tuple[str, ...] | None = None
    expires_at: float | None = None
    addresses: tuple[Network, ...] = ()
    """The networks its clients may call from; empty for any."""
    account: Account = field(factory=Account)
    """Organization and project that its requests are booked to."""
    former: tuple[tuple[bytes, float], ...] = field(default=(), repr=False)
    """Digests of secrets that were replaced, and when each stops working, in seconds since the epoch."""
    refused: str | None = None
    """Why all its requests are refused; None if they are admitted."""

    def allows(self, model: str) -> bool:
        """Say whether the allow-list permits `model`."""
        return self.models is None or any(fnmatchcase(model, glob) for glob in self.models)


class Keyring:
    """Look-up of client keys; immutable after construction.

    The duration of a look-up does not reveal how near a guess came: digests are
    compared, and nobody can choose a guess by its digest.
    Raises ValueError for two entries of one name or one key.
    """

    def __init__(self, entries: Iterable[ClientKey]) -> None:
        self._by_digest: dict[bytes, ClientKey] = {}
        self._by_name: dict[str, ClientKey] = {}
        for entry in entries:
            if entry.digest in self._by_digest:
                raise ValueError(f"the key of {entry.name!r} is given twice")
            if entry.name in self._by_name:
                raise ValueError(f"two keys are named {entry.name!r}")
            self._by_digest[entry.digest] = entry
            self._by_name[entry.name] = entry
        self._former: dict[bytes, tuple[ClientKey, float]] = {
            digest: (entry, until) for entry in self._by_name.values() for digest, until in entry.former
        }

    @property
    def restricts_models(self) -> bool:
        """Whether any key has an allow-list of models."""
        return any(entry.models is not None for entry in self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_digest)

    def __iter__(self) -> Iterator[ClientKey]:
        return iter(self._by_digest.values())

    def find(self, digest: bytes, wall_time: float) -> ClientKey:
        """Return the entry of the key with this `digest` at `wall_time` (seconds since the epoch).

        Raises InvalidKey for a key that is not listed, ExpiredKey from the
        second in which it expires, KeyBlocked for a blocked one.
        """
        entry = self._by_digest.get(digest)
        if entry is None:
            entry, until = self._former.get(digest, (None, 0.0))
            if entry is None or wall_time >= until:
                raise InvalidKey
        if entry.refused is not None:
            raise KeyBlocked(entry.refused)
        if entry.expires_at is not None and wall_time >= entry.expires_at:
            raise ExpiredKey(expiry_words(entry.expires_at))
        return entry

    def owner(self, digest: bytes) -> str:
        """Return the name of a key in the ring, expired or not; KeyError if it has none."""
        entry = self._by_digest.get(digest)
        return self._former[digest][0].name if entry is None else entry.name

    def named(self, name: str) -> ClientKey | None:
        """Return the entry of that name, None if there is none."""
        return self._by_name.get(name)
