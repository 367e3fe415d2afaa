"""The key store of one process: opened and closed with it, with its keys merged into the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent

from ...cost.build import has_prices
from ...cost.state_file import StateFile, check_header
from ...exchange.record import Exchange
from ...logs import logger
from ...net.redis_client import RedisClient
from ...net.redis_url import parse_redis_url
from ...settings import Settings, client_keys, with_stored_keys
from ...settings.derived import key_store_path
from ...settings.stored_keys.in_force import KeysInForce
from .file_keys import FileKeys, open_keys
from .loaded_keys import LoadedKeys
from .redis_keys import RedisKeys

log = logger("openai_proxy.keys")

REDIS_DEADLINE_S = 1.0
"""The deadline for calls to the key store: no request waits for them, but a change of a key does."""


class StoredKeys:
    """The key store of `key_store.url` in this process; does nothing without one.

    `changed` is called whenever the stored keys have changed.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        changed: Callable[[], None],
        others: Callable[[None], Deferred[None]] | None = None,
    ) -> None:
        """`others` makes the other processes of this daemon read the store. Raises SettingsError if its file is none."""
        self._in_force = KeysInForce()
        self._logged: list[str] = []
        self._file: StateFile | None = None
        self._client: RedisClient | None = None
        self._file_keys: FileKeys | None = None
        self.loaded: LoadedKeys | None = None
        """The loaded keys; None without a store."""
        url, path = settings.key_store.url, key_store_path(settings)
        if path is not None:
            try:
                check_header(path)
            except ValueError as error:
                raise settings.error("key_store.url", str(error)) from None
            self._file = StateFile(
                path, reactor, log, opens=open_keys, meanwhile="the loaded keys stay valid"
            )
            self._file_keys = FileKeys(self._file)
            self.loaded = LoadedKeys(self._file_keys, reactor)
        elif url is not None:
            address = parse_redis_url(url.get_secret_value())
            self._client = RedisClient(reactor, address, deadline_s=REDIS_DEADLINE_S)
            self.loaded = LoadedKeys(RedisKeys(self._client), reactor)
        if self.loaded is not None:
            self.loaded.changed = changed
            if others is not None:
                self.loaded.spread = lambda: others(None)

    def laid_over(self, settings: Settings) -> Settings:
        """Return the settings with the stored keys added."""
        if self.loaded is None:
            return settings
        keys, lines = self._in_force.keys(settings, self.loaded.records, has_prices(settings))
        for line in lines:
            if line not in self._logged:
                log.warn("{line}", line=line)
        self._logged = lines
        return with_stored_keys(settings, keys)

    def knows_all(self) -> bool:
        """Whether all existing keys are loaded."""
        return self.loaded is None or self.loaded.is_complete

    @property
    def is_unread(self) -> bool:
        """Whether there is a store that has not been read yet."""
        return self.loaded is not None and not (self.loaded.is_complete or self.loaded.has_looked)

    def first_look(self) -> Deferred[None]:
        """Fire when the store has been read once, at the latest after REDIS_DEADLINE_S."""
        return self.loaded.first_look() if self.loaded is not None and self.is_unread else succeed(None)

    def note_use(self, event: LogEvent) -> None:
        """Observe an exchange: remember that its key was used, unless that was refused."""
        exchange: Exchange = event["exchange"]
        if self.loaded is not None and exchange.key is not None and exchange.status not in (401, 403):
            self.loaded.note_use(exchange.key, exchange.timestamp)

    def start(self) -> None:
        """Open the store; raise OSError if a file cannot be opened or read."""
        if self.loaded is None:
            return
        if self._file is not None and self._file_keys is not None:
            self._file.start()
            try:
                self.loaded.take(self._file_keys.read_now())
            except Exception as error:
                raise OSError(f"{self._file.path}: {error}") from error
        if self._client is not None:
            self._client.start()
        self.loaded.start()

    def look(self) -> Deferred[None]:
        """Read the store now; fails if the store does."""
        return succeed(None) if self.loaded is None else self.loaded.refresh()

    def log_if_empty(self, settings: Settings) -> None:
        """Log that there is no client key yet, so that no client can call."""
        if self.loaded is not None and self.loaded.is_complete and not client_keys(settings):
            log.info("no client key yet: `openai-proxy key new NAME --url URL` makes one")

    def stop(self) -> Deferred[Any]:
        """Write the last uses of keys, and close the store; never fails."""
        if self.loaded is None:
            return succeed(None)
        return self.loaded.stop().addBoth(lambda _: self._close())

    def _close(self) -> Deferred[Any]:
        if self._file is not None:
            return self._file.stop()
        return self._client.stop() if self._client is not None else succeed(None)
