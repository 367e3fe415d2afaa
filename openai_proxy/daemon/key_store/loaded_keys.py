"""The stored keys that this process has loaded, and their changes.

The store is polled several times a second, so that a change by another process
is in force here within a second. While the store cannot be reached, the keys
loaded last stay valid and nothing can be changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from ...exchange.errors import KeyStoreUnavailable
from ...exchange.page_errors import TooManyKeys
from ...logs import logger
from ...settings.stored_keys.record import KeyRecord, parse_record
from .store import MOST_KEYS, RecordStore, Snapshot, StoreFull

POLL_S = 0.4
WRITE_USES_EVERY_S = 20.0
_MOST_TRIES = 10
"""A change is given up after this number of conflicts with other changes."""

T = TypeVar("T")
Work = Callable[["KeyRecord | None"], "KeyRecord | None"]
"""Makes the next record from the present one; None means no record. Raises a ProxyError to refuse."""


async def _of_store(asked: Deferred[T]) -> T:
    """Return the store's result; turn its failures into TooManyKeys and KeyStoreUnavailable."""
    try:
        return await asked
    except CancelledError:
        raise
    except StoreFull:
        raise TooManyKeys(f"The key store holds {MOST_KEYS} keys, which is its maximum.") from None
    except Exception as error:
        raise KeyStoreUnavailable from error


class LoadedKeys:
    """The keys loaded from one store.

    States: built, watching (`start`), stopped (`stop`). `changed` is called
    whenever the loaded keys have changed.
    """

    _log = logger("openai_proxy.keys")

    def __init__(self, store: RecordStore, timers: IReactorTime) -> None:
        self._store = store
        self.changed: Callable[[], None] = lambda: None
        self.spread: Callable[[], Awaitable[object]] | None = None
        """Makes the other processes of this machine read the store at once; otherwise they do so soon."""
        self.records: Mapping[str, KeyRecord] = {}
        self.is_complete = False
        """Whether the store was ever read: before that, an unknown key may be in it."""
        self.has_looked = False
        """Whether a read has ever ended, with success or failure."""
        self._first_look: list[Deferred[None]] = []
        self._raw: Mapping[str, bytes] = {}
        self._revision: str | None = None
        self._failing = False
        self._uses: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._waiting: list[Deferred[None]] = []
        """Each waits for the next read of the store."""
        self._busy = False
        self._watch = self._loop(timers, self._look)
        self._writing = self._loop(timers, self._write_uses)

    @staticmethod
    def _loop(timers: IReactorTime, function: Callable[[], Any]) -> LoopingCall:
        loop = LoopingCall(function)
        loop.clock = timers
        return loop

    # ---- life

    def start(self) -> None:
        """Begin to poll the store. Idempotent."""
        for loop, every_s in ((self._watch, POLL_S), (self._writing, WRITE_USES_EVERY_S)):
            if not loop.running:
                loop.start(every_s, now=loop is self._watch).addErrback(
                    lambda failure: self._log.failure("the key store is no longer read", failure)
                )

    def stop(self) -> Deferred[Any]:
        """Stop polling; fires when the last uses are written, and never fails."""
        for loop in (self._watch, self._writing):
            if loop.running:
                loop.stop()
        return self._write_uses()

    # ---- reading

    def take(self, snapshot: Snapshot | None) -> None:
        """Load a snapshot of the store; None if nothing has changed."""
        if self._failing:
            self._failing = False
            self._log.info("the key store can be read again")
        if snapshot is not None:
            self._hold(snapshot.records, snapshot.revision)

    def _hold(self, raw: Mapping[str, bytes], revision: str | None) -> None:
        """Load these records; without a revision the next poll reads everything."""
        before, records = self._raw, {}
        for name, data in raw.items():
            if before.get(name) == data and name in self.records:
                records[name] = self.records[name]
                continue
            try:
                records[name] = parse_record(name, data)
            except ValueError as error:
                # fail closed: the key is not admitted
                self._log.error(
                    "the stored key {name} {reason}: it is not admitted", name=repr(name), reason=str(error)
                )
        for name in before.keys() - raw.keys():
            for uses in (self._uses, self._unwritten):
                uses.pop(name, None)
        self._raw, self._revision, self.records = raw, revision, records
        first, self.is_complete = not self.is_complete, True
        if first or before != raw:
            self.changed()

    def first_look(self) -> Deferred[None]:
        """Fire when the store has been read for the first time, or that has failed."""
        looked: Deferred[None] = Deferred()
        self._first_look.append(looked)
        return looked

    def refresh(self) -> Deferred[None]:
        """Read the store, after this call; fails if the store does."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._busy:
            self._read()
        return waiting

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._busy = True
        self._store.read(self._revision).addBoth(self._was_read, waiting)

    def _was_read(self, result: Snapshot | Failure | None, waiting: list[Deferred[None]]) -> None:
        self._busy = False
        failure: Failure | None = None
        if isinstance(result, Failure):
            failure = result
            self._failed(result)
        else:
            try:
                self.take(result)
            except Exception:
                failure = Failure()
        self.has_looked = True
        first, self._first_look = self._first_look, []
        for each in first:
            if not each.called:  # else the client has left
                each.callback(None)
        for each in waiting:
            if each.called:  # the waiting client has left
                continue
            if failure is None:
                each.callback(None)
            else:
                each.errback(failure)
        if self._waiting and not self._busy:
            self._read()

    def _look(self) -> None:
        if not self._busy:
            self.refresh().addErrback(self._not_read)

    def _not_read(self, failure: Failure) -> None:
        if not self._failing:  # not a failure of the store
            self._log.failure("defect while keys were put in force", failure)

    def _failed(self, failure: Failure) -> None:
        if not self._failing:
            self._failing = True
            self._log.error(
                "cannot read the key store ({reason}): the loaded keys stay valid",
                reason=str(failure.value) or type(failure.value).__name__,
            )

    # ---- changing

    async def change(self, name: str, work: Work) -> KeyRecord | None:
        """Change the key `name` as `work` says; return its new record once it is in force here.

        Raises what `work` raises, TooManyKeys, and KeyStoreUnavailable if the
        store cannot be reached. Once the store has accepted a change, the
        change is made: no later failure of the store or of other processes
        raises.
        """
        for _ in range(_MOST_TRIES):
            await _of_store(self.refresh())
            old, record = self._raw.get(name), self.records.get(name)
            if old is not None and record is None:
                raise KeyStoreUnavailable(
                    f"The stored key {name!r} cannot be read by this version of openai-proxy: nothing was changed."
                )
            new = work(record)
            data = None if new is None else new.dump()
            if await _of_store(self._store.put(name, old, data)):
                await self._put_in_force(name, data)
                return new
        raise KeyStoreUnavailable("Others are changing this key at the same time; try again.")

    async def _put_in_force(self, name: str, data: bytes | None) -> None:
        """Apply a change that the store has accepted here and, if they can be reached, in the other processes."""
        try:
            await self.refresh()
        except CancelledError:
            raise
        except Exception:  # it has been logged
            raw = {**self._raw, name: data}
            self._hold({each: kept for each, kept in raw.items() if kept is not None}, None)
        if self.spread is None:
            return
        try:
            await self.spread()
        except CancelledError:
            raise
        except Exception as error:
            self._log.debug("other workers read the keys by themselves ({reason})", reason=str(error))

    # ---- uses

    def note_use(self, name: str, timestamp: float) -> None:
        """Remember that a key was used. Costs a look-up in a dict."""
        minute = int(timestamp // 60)
        if self._uses.get(name) != minute:
            self._uses[name] = self._unwritten[name] = minute

    def _write_uses(self) -> Deferred[Any]:
        uses, self._unwritten = self._unwritten, {}
        if not uses:
            return succeed(None)

        def take_back(_: Failure) -> None:
            self._unwritten = {**uses, **self._unwritten}

        return self._store.note_uses(uses).addErrback(take_back)

    async def uses(self) -> Mapping[str, int]:
        """Return when each key was last used, in minutes since the epoch; only this process's uses if the store cannot be reached."""
        try:
            found = await self._store.uses()
        except CancelledError:
            raise
        except Exception:
            return dict(self._uses)
        return {name: max(found.get(name, 0), self._uses.get(name, 0)) for name in {**found, **self._uses}}
