"""Change keys in the file of a proxy without the proxy, for the command. Blocking."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...cost.state_file import do_together
from ...exchange.errors import ProxyError
from ...exchange.page_errors import KeyNotFound
from ...settings.stored_keys import changes
from ...settings.stored_keys.in_force import client_key_of
from ...settings.stored_keys.record import KeyRecord, parse_record
from .documents import key_document
from .file_keys import open_keys, put_key, read_keys, read_uses
from .store import StoreFull

T = TypeVar("T")


class KeyFileAway(Exception):
    """The file does not exist, or cannot be used; the message is one line."""


class KeyFileRefused(Exception):
    """A change is refused; the message is one line."""


class KeyFile:
    """Keys in the SQLite file of `key_store.url`; a running proxy sees the changes too.

    Rules that need the configuration (prices, names of TOML keys) are not checked.
    """

    def __init__(self, path: Path, *, makes_it: bool) -> None:
        if not makes_it and not path.is_file():
            raise KeyFileAway(f"there is no file {path}")
        try:
            self._connection = open_keys(path)
        except OSError as error:
            raise KeyFileAway(str(error)) from error

    def close(self) -> None:
        self._connection.close()

    def listed(self, group: str | None) -> list[dict[str, Any]]:
        uses = self._do(read_uses)
        documents = [self._shown(record, uses) for record in self._records().values()]
        return [each for each in documents if group is None or each["group"] == group]

    def one(self, name: str) -> dict[str, Any]:
        record = self._records().get(name)
        if record is None:
            raise KeyFileRefused(KeyNotFound.default_message)
        return self._shown(record, self._do(read_uses))

    def make(self, document: Mapping[str, Any]) -> dict[str, Any]:
        secret = changes.new_secret()
        record = _refusing(lambda: changes.made(document, secret, time.time())[0])
        self._change(record.name, lambda old: changes.only_if_new(old, record))
        return {**self.one(record.name), "key": secret}

    def change(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        self._change(name, lambda old: changes.patched(changes.found(old), document, time.time())[0])
        return self.one(name)

    def rotate(self, name: str, grace_s: float) -> dict[str, Any]:
        secret = changes.new_secret()
        digest = changes.sha256_of(secret)
        grace_s = _refusing(lambda: changes.grace_of({"grace_s": grace_s}))
        self._change(name, lambda old: changes.found(old).rotated(digest, grace_s, time.time()))
        return {**self.one(name), "key": secret}

    def revoke(self, name: str, cut: bool) -> None:
        if cut:
            raise KeyFileRefused("--cut needs a running proxy (--url)")

        def gone(old: KeyRecord | None) -> None:
            changes.found(old)

        self._change(name, gone)

    # ---- the file

    def _change(self, name: str, work: Callable[[KeyRecord | None], KeyRecord | None]) -> None:
        def change(connection: Any) -> None:
            snapshot = read_keys(connection)
            data = snapshot.records.get(name) if snapshot is not None else None
            new = work(None if data is None else parse_record(name, data))
            put_key(connection, name, data, None if new is None else new.dump())

        self._do(change)

    def _records(self) -> dict[str, KeyRecord]:
        snapshot = self._do(read_keys)
        records = {} if snapshot is None else snapshot.records
        try:
            return {name: parse_record(name, data) for name, data in records.items()}
        except ValueError as error:
            raise KeyFileRefused(f"a stored key {error}") from error

    def _shown(self, record: KeyRecord, uses: Mapping[str, int]) -> dict[str, Any]:
        key = _refusing(lambda: client_key_of(record))
        return key_document(key, record, uses.get(record.name), None, time.time())

    def _do(self, work: Callable[[Any], T]) -> T:
        (result,) = do_together(self._connection, [work])
        if hasattr(result, "raiseException"):
            return _refusing(result.raiseException)  # type: ignore[no-any-return]  # it raises
        done: T = result
        return done


def _refusing(work: Callable[[], T]) -> T:
    """Do `work`; turn what it raises into KeyFileRefused."""
    try:
        return work()
    except ProxyError as error:
        raise KeyFileRefused(error.message + (f" ({error.param})" if error.param else "")) from error
    except StoreFull as error:
        raise KeyFileRefused("the key store is full") from error
    except Exception as error:
        raise KeyFileAway(str(error) or type(error).__name__) from error
