"""Budgets over any schedule, with keepers that answer late or fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock

from openai_proxy.cost.budget import GROUP, Account, Balance, Need, PendingCall, admit_in_turn
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.ledger import RENEW_S, SAVE_WITHIN_S, SharedLedger

DAY = Account("alice", "1970-01-01")


class BudgetStore:
    """Balances of several processes; each answer waits in `late` if that is a list."""

    def __init__(self):
        self.kept = {}
        self.late = None
        self.fails = False
        self.calls = 0

    def of(self, process):
        return lambda account, own, needs: self._judge((account, process), own, needs)

    def _judge(self, place, own, needs):
        self.calls += 1
        answer = Deferred()

        def judge():
            if self.fails:
                answer.errback(OSError("no"))
                return
            others = Balance()
            for (account, process), balance in self.kept.items():
                if account == place[0] and process != place[1]:
                    others = others.plus(balance)
            grants = admit_in_turn(own.plus(others), needs)
            self.kept[place] = own.plus(Balance(0.0, sum(each or 0.0 for each in grants)))
            answer.callback((grants, others))

        if self.late is None:
            judge()
        else:
            self.late.append(judge)
        return answer

    def answer(self):
        late, self.late = self.late, []
        for judge in late:
            judge()


class World:
    def __init__(self, processes=1):
        self.clock = Clock()
        self.store = BudgetStore()
        self.ledgers = []
        for process in range(processes):
            store = MemoryBudgets()
            store.judge = self.store.of(process)
            self.ledgers.append(SharedLedger(store, self.clock, self.clock.seconds))

    @property
    def ledger(self):
        return self.ledgers[0]

    def ask(self, usd, limit_usd=10.0, account=DAY, process=0):
        """Return a list that gets the reservation, None or the exception."""
        asked = Deferred.fromCoroutine(self.ledgers[process].reserve(account, Need(usd, limit_usd)))
        ends = []
        asked.addBoth(ends.append)
        return ends if asked.called else (ends, asked)

    def settle(self, reservation, cost_usd, process=0):
        """Settle, and let the time pass in which that is written."""
        self.ledgers[process].settle(reservation, cost_usd)
        self.clock.advance(SAVE_WITHIN_S)

    def spent_usd(self):
        return sum(balance.spent_usd for balance in self.store.kept.values())


def test_reservations_hold_until_they_are_settled():
    """What runs counts as spent; afterwards the real cost does."""
    world = World()
    (first,) = world.ask(6.0)
    assert world.ask(6.0) == [None]
    world.settle(first, 1.0)
    (second,) = world.ask(6.0)
    world.settle(second, 12.0)
    assert world.ask(0.0) == [None]
    assert world.spent_usd() == 13.0


def test_a_burst_is_judged_in_one_step_after_the_one_under_way():
    """Fifty requests at once cost two calls, and get what ten can pay for."""
    world = World()
    world.store.late = []
    asked = [world.ask(1.0)[0] for _ in range(50)]
    assert world.store.calls == 1
    world.store.answer()
    world.store.answer()
    assert world.store.calls == 2
    assert [ends[0] is not None for ends in asked].count(True) == 10


def test_two_processes_share_one_budget():
    """What one reserved or spent, the other cannot."""
    world = World(2)
    (here,) = world.ask(6.0, process=0)
    assert world.ask(6.0, process=1) == [None]
    world.settle(here, 3.0)
    (there,) = world.ask(6.0, process=1)
    world.settle(there, 7.0, process=1)
    assert world.ask(0.0, process=0) == [None]


def test_a_client_that_leaves_while_it_waits_leaves_nothing_reserved():
    """The answer comes for nobody: its money is free again."""
    world = World()
    world.store.late = []
    ends, asked = world.ask(10.0)
    asked.cancel()
    assert ends[0].check(CancelledError)
    world.store.answer()
    world.store.answer()
    world.store.late = None
    assert world.ask(10.0)[0].usd == 10.0


def test_a_client_that_leaves_before_it_is_judged_takes_nothing_from_those_after_it():
    """It waits for the decision on another; the money goes to the request whose client is still there."""
    world = World()
    world.store.late = []
    first, _ = world.ask(1.0)
    gone, asked = world.ask(9.0)
    there, _ = world.ask(9.0)
    asked.cancel()
    world.store.answer()
    world.store.answer()
    assert gone[0].check(CancelledError)
    assert [each[0] and each[0].usd for each in (first, there)] == [1.0, 9.0]


def test_a_client_that_leaves_while_its_background_call_is_looked_up_is_not_served():
    """Else the upstream would be asked for nobody."""
    store = MemoryBudgets()
    store.find = lambda name: Deferred()
    ledger = SharedLedger(store, Clock())
    looking = Deferred.fromCoroutine(ledger.find_pending("resp_1"))
    ends = []
    looking.addBoth(ends.append)
    looking.cancel()
    assert ends[0].check(CancelledError)


def test_while_the_keeper_fails_the_process_decides_by_itself_and_writes_it_later():
    """Requests go on within what was last known; no money is forgotten."""
    world = World(2)
    world.settle(world.ask(2.0, process=1)[0], 2.0, process=1)
    world.settle(world.ask(1.0)[0], 1.0)
    world.store.fails = True
    (alone,) = world.ask(6.0)
    assert world.ask(2.0) == [None]
    world.settle(alone, 5.0)
    assert world.spent_usd() == 3.0
    world.store.fails = False
    world.ledger.start()
    world.clock.advance(RENEW_S)
    assert world.spent_usd() == 8.0
    world.ledger.stop()


def test_what_was_spent_while_the_keeper_failed_counts():
    """A request that turned out dear in the meantime leaves nothing for the one that waited."""
    world = World()
    (dear,) = world.ask(1.0)
    world.store.late, world.store.fails = [], True
    ends, _ = world.ask(1.0)
    world.ledger.settle(dear, 10.0)
    world.store.answer()
    assert ends == [None]


def test_a_failing_keeper_is_not_asked_again_at_once():
    """What cannot be written waits for the next request or renewal."""
    world = World()
    world.store.fails = True
    world.settle(world.ask(1.0)[0], 1.0)
    assert world.store.calls == 2


def test_leases_of_what_runs_are_renewed_and_past_periods_forgotten():
    """A stream of hours keeps its reservation; yesterday takes no memory."""
    world = World()
    world.ledger.start()
    (running,) = world.ask(5.0)
    calls = world.store.calls
    world.clock.advance(RENEW_S)
    assert world.store.calls == calls + 1
    world.settle(running, 1.0)
    world.clock.advance(2 * 86400.0)
    world.clock.advance(RENEW_S)
    assert not world.ledger._books
    world.ledger.stop()


def test_a_slow_upload_over_midnight_finds_what_was_spent_when_it_began():
    """Else a budget that is spent would begin anew for whoever began before midnight and sent slowly."""
    world = World()
    world.ledger.start()
    world.settle(world.ask(9.0)[0], 10.0)
    world.clock.advance(86400.0)
    world.clock.advance(RENEW_S)
    assert world.ask(1.0) == [None]
    assert world.spent_usd() == 10.0
    world.ledger.stop()


def test_stop_waits_for_what_is_being_written():
    """The last request's cost is kept."""
    world = World()
    (last,) = world.ask(1.0)
    world.store.late = []
    world.ledger.settle(last, 0.5)
    stopped = []
    world.ledger.stop().addCallback(stopped.append)
    assert not stopped
    world.store.answer()
    assert stopped == [None]
    assert world.spent_usd() == 0.5
    assert world.clock.getDelayedCalls() == []


def test_a_busy_account_is_written_once_for_each_request():
    """What one cost goes with the next one's reservation."""
    world = World()
    for _ in range(10):
        world.ledger.settle(world.ask(0.5)[0], 0.5)
    assert world.store.calls == 10
    world.clock.advance(SAVE_WITHIN_S)
    assert world.spent_usd() == 5.0


def test_standing_tells_what_all_processes_spent_and_hold():
    """A look at the budget reserves nothing."""
    world = World(2)
    world.settle(world.ask(2.0, process=1)[0], 2.0, process=1)
    world.ask(3.0)
    balances = []
    Deferred.fromCoroutine(world.ledger.balance(DAY)).addCallback(balances.append)
    assert balances == [Balance(2.0, 3.0)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 2), st.floats(0, 6)),
        st.tuples(st.just("settle"), st.integers(0, 30), st.floats(0, 1)),
        st.tuples(st.just("answer"), st.just(0), st.just(0.0)),
        st.tuples(st.just("leave"), st.integers(0, 30), st.just(0.0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_schedule_spends_more_than_the_budget(steps):
    """If nothing costs more than its reservation, the sum stays within the limit, in any order."""
    world = World(3)
    world.store.late = []
    asked, under_way, running, cost_usd = [], [], [], 0.0

    def collect():
        for process, ends in asked:
            if ends and not hasattr(ends[0], "check") and ends[0] is not None:
                running.append((process, ends[0]))
                ends[:] = [None]

    for step, which, amount in steps:
        if step == "ask":
            answer = world.ask(amount, process=which)
            ends, waiting = answer if isinstance(answer, tuple) else (answer, None)
            asked.append((which, ends))
            if waiting is not None:
                under_way.append(waiting)
        elif step == "settle" and running:
            process, reservation = running.pop(which % len(running))
            cost_usd += reservation.usd * amount
            world.ledgers[process].settle(reservation, reservation.usd * amount)
        elif step == "leave" and under_way:
            under_way.pop(which % len(under_way)).cancel()
        elif step == "answer":
            world.clock.advance(SAVE_WITHIN_S)
            world.store.answer()
        collect()
        held = sum(reservation.usd for _, reservation in running)
        assert cost_usd + held <= 10.0 * (1 + 1e-6)
    for _ in range(len(steps) + 3):
        world.store.answer()
        collect()
    for process, reservation in running:
        world.ledgers[process].settle(reservation, 0.0)
    for _ in range(3):
        world.clock.advance(SAVE_WITHIN_S)
        world.store.answer()
    assert world.spent_usd() == pytest.approx(cost_usd)
    assert sum(balance.held_usd for balance in world.store.kept.values()) == pytest.approx(0.0)


def test_a_clock_set_forward_and_back_loses_nothing_that_was_spent():
    """A period that seemed to be over is the present one again: its money is still spent."""
    now = [1_795_262_400.0]  # 2026-11-21
    clock = Clock()
    ledger = SharedLedger(MemoryBudgets(), clock, lambda: now[0])
    ledger.start()
    account = Account("alice", "2026-11")
    ledger.charge(account, 7.0)
    clock.advance(SAVE_WITHIN_S)
    now[0] += 60 * 86400
    clock.advance(RENEW_S)
    assert account not in ledger._books
    now[0] -= 60 * 86400
    found = []
    Deferred.fromCoroutine(ledger.balance(account)).addCallback(found.append)
    Deferred.fromCoroutine(ledger.reserve(account, Need(4.0, 10.0))).addCallback(found.append)
    assert found == [Balance(7.0, 0.0), None]
    ledger.stop()


def test_the_sums_of_past_periods_are_bounded(monkeypatch):
    """However many keys and days there are."""
    monkeypatch.setattr("openai_proxy.cost.ledger.MOST_PAST", 3)
    ledger = SharedLedger(MemoryBudgets(), Clock())
    for day in range(9):
        ledger._remember(Account("alice", str(day)), 1.0)
    assert list(ledger._past) == [Account("alice", str(day)) for day in (6, 7, 8)]


def test_a_call_is_taken_once_and_reported_to_whoever_took_it():
    """Who asks later, or for a call that no budget pays for, charges nothing."""
    ledger = SharedLedger(MemoryBudgets(), Clock())
    held = now(ledger.reserve(DAY, Need(4.0, 10.0)))
    ledger.keep([held], "batch_1")
    call = now(ledger.find_pending("batch_1"))
    assert [now(ledger.take_pending(call, 3.0)) for _ in range(2)] == [True, False]
    assert now(ledger.balance(DAY)) == Balance(3.0, 0.0)
    assert now(ledger.take_pending(PendingCall("batch_2"), 3.0)) is False


def test_a_client_that_leaves_while_a_call_is_taken_changes_nothing():
    """The store has taken it: it must be charged."""
    store = MemoryBudgets()
    ledger = SharedLedger(store, Clock())
    ledger.keep([now(ledger.reserve(DAY, Need(4.0, 10.0)))], "batch_1")
    call = now(ledger.find_pending("batch_1"))
    late = Deferred()
    store.take = lambda call, cost_usd: late
    taking = Deferred.fromCoroutine(ledger.take_pending(call, 3.0))
    taking.addErrback(lambda failure: failure.trap(CancelledError))
    taking.cancel()
    late.callback(True)
    assert now(ledger.balance(DAY)).spent_usd == 3.0


def test_a_keeper_that_fails_takes_nothing():
    """The money stays set aside for who asks next."""
    store = MemoryBudgets()
    store.take = lambda call, cost_usd: fail(OSError("no"))
    ledger = SharedLedger(store, Clock())
    assert now(ledger.take_pending(PendingCall("batch_1", DAY, 1.0), 3.0)) is False
    assert now(ledger.balance(DAY)) == Balance()


def now(coroutine):
    """Return what a coroutine gives that need not wait."""
    given = []
    Deferred.fromCoroutine(coroutine).addCallback(given.append)
    return given[0]


def test_a_call_is_charged_to_every_account_once():
    """A key, its group and the group above."""
    accounts = [DAY, Account(GROUP + "team", DAY.period), Account(GROUP + "all", "1970-01")]
    ledger = SharedLedger(MemoryBudgets(), Clock())
    ledger.has_groups = True
    ledger.keep([now(ledger.reserve(account, Need(4.0, 10.0))) for account in accounts], "batch_1")
    assert [now(ledger.balance(account)) for account in accounts] == [Balance(0.0, 4.0)] * 3
    call = now(ledger.find_pending("batch_1"))
    assert call.account == DAY
    assert [now(ledger.take_pending(call, 3.0)) for _ in range(2)] == [True, False]
    assert [now(ledger.balance(account)) for account in accounts] == [Balance(3.0, 0.0)] * 3
