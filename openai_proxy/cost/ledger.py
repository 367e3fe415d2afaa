"""The ledger of one process over a store that other processes share.

A store (`budget_store`) holds the money that each process has spent and
reserved. While it fails, this process decides by itself with the balance that
it saw last, and writes its sums when the store works again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from ..logs import logger
from .budget import Account, Balance, Need, PendingCall, Reservation, admit_in_turn, period_name
from .budget_store import BudgetStore, Judgement

RENEW_S = 20.0
MOST_PAST = 100_000
"""The most accounts of past periods whose sums are kept; the oldest are dropped."""
SAVE_WITHIN_S = 0.05
"""The delay before costs are written, unless the next reservation writes them: so a busy daemon writes half as often."""

MOST_ACCOUNTS = 10
"""The most accounts that one call is charged to: its key, and the groups above it."""

_DAY_S = 86400.0


@define(eq=False)
class _Book:
    """The local copy of one account; owned by its ledger.

    `busy`: the store is deciding. Only one call for an account is ever under
    way, so that a write never overwrites a newer one. `unsaved`: the store does
    not have this process's present sums.
    """

    spent_usd: float = 0.0
    saved_usd: float = 0.0
    """What the store has of `spent_usd`."""
    held_usd: float = 0.0
    running: int = 0
    others: Balance = field(factory=Balance)
    waiting: list[tuple[Need, Deferred[float | None]]] = field(factory=list)
    busy: bool = False
    unsaved: bool = False

    @property
    def own(self) -> Balance:
        return Balance(self.spent_usd, self.held_usd)


class SharedLedger:
    """A `cost.budget.Ledger`: requests of one account that come together are decided in one step.

    Between `start` and `stop`, every `RENEW_S`, leases are renewed and failed
    writes are repeated.
    """

    _log = logger(__name__)

    def __init__(
        self, store: BudgetStore, timers: IReactorTime, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._timers = timers
        self._wall_clock = wall_clock
        self.has_groups = False
        """Whether calls may be charged to groups as well; once set it stays set, because calls outlive a reload."""
        self._books: dict[Account, _Book] = {}
        self._past: dict[Account, float] = {}
        """The sums of past periods: the wall clock may be set back into one."""
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = timers
        self._saving: IDelayedCall | None = None
        self._idle: Deferred[None] | None = None
        self._watcher: Callable[[Account, Balance], None] | None = None
        self._watched: Callable[[], Iterable[Account]] = tuple

    def watch(
        self, watcher: Callable[[Account, Balance], None], accounts: Callable[[], Iterable[Account]]
    ) -> None:
        """Call `watcher` whenever the balance of an account is read.

        `accounts` returns the accounts whose balance is read at each renewal
        even if no request comes.
        """
        self._watcher, self._watched = watcher, accounts
        if self._renewal.running:
            self._look()

    def is_first(self, account: Account, name: str) -> Deferred[bool]:
        """Remember `name`; fires with True the first time that any process passes it. Fails if the store does."""
        return self._store.is_first(account, name)

    def last_seen(self, account: Account) -> Balance | None:
        """Return the last seen balance of all processes together; None if none was ever read."""
        book = self._books.get(account)
        return None if book is None else book.own.plus(book.others)

    async def reserve(self, account: Account, need: Need) -> Reservation | None:
        granted = await self._ask(account, need)
        return None if granted is None else Reservation(account, granted)

    def settle(self, reservation: Reservation, cost_usd: float) -> None:
        book = self._books[reservation.account]
        book.spent_usd += cost_usd
        self._free(book, reservation.usd)
        self._save_soon()

    def charge(self, account: Account, cost_usd: float) -> None:
        book = self._book(account)
        book.spent_usd += cost_usd
        book.unsaved = True
        self._save_soon()

    def keep(self, reservations: Sequence[Reservation], name: str) -> None:
        for position, reservation in enumerate(reservations):
            self._keep(reservation, _further(name, position))

    def _keep(self, reservation: Reservation, name: str) -> None:
        call = PendingCall(name, reservation.account, reservation.usd)

        def kept(_: Any) -> None:
            self._free(self._books[reservation.account], reservation.usd)
            self._save_soon()

        # If the store fails, this process keeps the money reserved as long as it runs.
        self._store.hold(call).addCallbacks(kept, self._not_kept)

    def _not_kept(self, failure: Failure) -> None:
        self._log.warn(
            "the budget of a background call is set aside in memory only: {reason}", reason=str(failure.value)
        )

    async def find_pending(self, name: str) -> PendingCall | None:
        try:
            return await self._store.find(name)
        except CancelledError:  # the client left: no request may be sent for it
            raise
        except Exception:  # the file or Redis has logged it
            return None

    def settle_pending(self, call: PendingCall, cost_usd: float) -> None:
        self._take(call, cost_usd).addCallback(self._settle_groups, call, cost_usd)

    def _settle_groups(self, was_there: bool, call: PendingCall, cost_usd: float) -> bool:
        """Charge the accounts of groups too, if this process was the one that charged the first account."""
        if was_there and self.has_groups:
            Deferred.fromCoroutine(self._take_further(call.name, cost_usd)).addErrback(
                lambda failure: self._log.failure("a group's budget was not charged", failure)
            )
        return was_there

    async def _take_further(self, name: str, cost_usd: float) -> None:
        for position in range(1, MOST_ACCOUNTS):
            call = await self.find_pending(_further(name, position))
            if call is None:
                return
            await self._take(call, cost_usd)

    async def take_pending(self, call: PendingCall, cost_usd: float) -> bool:
        charged: Deferred[bool] = Deferred()

        def report(was_there: bool) -> None:
            if not charged.called:  # else the waiting client has left
                charged.callback(was_there)

        self._take(call, cost_usd).addCallback(self._settle_groups, call, cost_usd).addCallback(report)
        return await charged

    def _take(self, call: PendingCall, cost_usd: float) -> Deferred[bool]:
        account = call.account
        if account is None:
            return succeed(False)

        def taken(was_there: bool) -> bool:
            if was_there:
                self.charge(account, cost_usd)
            return was_there

        # If the store fails, the money stays reserved, and the next request about the call tries again.
        return self._store.take(call, cost_usd).addCallbacks(taken, lambda _: False)

    async def balance(self, account: Account) -> Balance:
        """Return the balance of all processes together."""
        await self._ask(
            account, Need(0.0, 0.0)
        )  # the need is refused, and the answer has the others' balance
        book = self._books[account]
        return book.own.plus(book.others)

    def _ask(self, account: Account, need: Need) -> Deferred[float | None]:
        book = self._book(account)
        asked: Deferred[float | None] = Deferred()
        book.waiting.append((need, asked))
        self._pump(account, book)
        return asked

    def _book(self, account: Account) -> _Book:
        book = self._books.get(account)
        if book is None:
            past_usd = self._past.pop(account, 0.0)
            book = self._books[account] = _Book(spent_usd=past_usd, saved_usd=past_usd)
        return book

    @staticmethod
    def _free(book: _Book, usd: float) -> None:
        book.running -= 1
        book.held_usd = max(0.0, book.held_usd - usd) if book.running else 0.0
        book.unsaved = True

    def _pump(self, account: Account, book: _Book) -> None:
        """Let the store decide the waiting requests, unless it is deciding already."""
        if book.waiting:  # a request whose client has left must not take money that later ones need
            book.waiting = [each for each in book.waiting if not each[1].called]
        if book.busy or not (book.waiting or book.unsaved):
            return
        book.busy, book.unsaved = True, False
        waiting, book.waiting = book.waiting, []
        own, needs = book.own, [need for need, _ in waiting]

        def judged(judgement: Judgement, failed: bool = False) -> None:
            book.busy = False
            grants, book.others = judgement
            if not failed:
                book.saved_usd = own.spent_usd
            for (_, asked), granted in zip(waiting, grants, strict=True):
                self._hand_over(book, asked, granted)
            if self._watcher is not None and not failed:
                self._watcher(account, book.own.plus(book.others))
            if book.waiting or (book.unsaved and not failed and self._idle is not None):
                self._pump(account, book)
                return
            if book.unsaved and not failed:
                self._save_soon()
            self._tell_idle()

        def by_myself(_: Failure) -> None:
            # the file or Redis has logged what is wrong
            book.unsaved = True
            judged((admit_in_turn(book.own.plus(book.others), needs), book.others), failed=True)

        judging = self._store.judge(account, own, needs)
        judging.addCallbacks(judged, by_myself)
        judging.addErrback(lambda failure: self._log.failure("a budget was not judged", failure))

    def _hand_over(self, book: _Book, asked: Deferred[float | None], granted: float | None) -> None:
        if granted is not None:
            book.running += 1
            book.held_usd += granted
        if not asked.called:
            asked.callback(granted)
        elif granted is not None:  # the client left meanwhile
            self._free(book, granted)

    # ---- writing, leases, and the end

    def _save_soon(self) -> None:
        if self._saving is None:
            self._saving = self._timers.callLater(SAVE_WITHIN_S, self._save)

    def _save(self) -> None:
        self._saving = None
        for account, book in list(self._books.items()):
            if book.unsaved:
                self._pump(account, book)

    def start(self) -> None:
        """Begin to renew leases. Idempotent."""
        if not self._renewal.running:
            self._renewal.start(RENEW_S, now=False).addErrback(
                lambda failure: self._log.failure("budgets are no longer renewed", failure)
            )
            self._look()

    def _look(self) -> None:
        """Read the balances of the watched accounts."""
        for account in self._watched():
            book = self._book(account)
            book.unsaved = True
            self._pump(account, book)

    def _renew(self) -> None:
        now = self._wall_clock()
        watched = set(self._watched())
        for account in watched:
            self._book(account).unsaved = True
        # a request is charged to the period in which it began, and may run for a day
        recent = (now - _DAY_S, now)
        current = {period_name("day", each) for each in recent} | {
            period_name("month", each) for each in recent
        }
        for account, book in list(self._books.items()):
            if book.running:
                book.unsaved = True
            elif not (book.unsaved or book.busy or book.waiting) and account.period not in current:
                del self._books[account]
                self._remember(account, book.spent_usd)
            self._pump(account, book)

    def _remember(self, account: Account, spent_usd: float) -> None:
        """Keep the sum of a past period: the store would replace this process's sum by what it writes."""
        if spent_usd > 0.0:
            if len(self._past) >= MOST_PAST:
                del self._past[next(iter(self._past))]
            self._past[account] = spent_usd

    def stop(self) -> Deferred[Any]:
        """Write what is not written yet; fires when no call is under way any more."""
        if self._renewal.running:
            self._renewal.stop()
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        idle: Deferred[None] = Deferred()
        self._idle = idle
        for account, book in self._books.items():
            self._pump(account, book)
        self._tell_idle()
        return idle

    def unwritten(self) -> dict[Account, float]:
        """Return the money that the store does not have yet, as far as requests have ended."""
        return {
            account: book.spent_usd - book.saved_usd
            for account, book in self._books.items()
            if book.spent_usd > book.saved_usd
        }

    def _tell_idle(self) -> None:
        idle = self._idle
        if idle is not None and not any(book.busy for book in self._books.values()):
            self._idle = None
            idle.callback(None)


def _further(name: str, position: int) -> str:
    """Return the name under which money for a call is reserved in its further accounts."""
    return name if position == 0 else f"{name}\x1f{position}"
