"""Budgets over any schedule, with keepers that answer late or fail."""

import pytest
from cost.budgeted import NOON
from fakes import outcome_of, result_of, results_of
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

    def _judge(self, holder, own, needs):
        self.calls += 1
        answer = Deferred()

        def judge():
            if self.fails:
                answer.errback(OSError("no"))
                return
            others = Balance()
            for (account, process), balance in self.kept.items():
                if account == holder[0] and process != holder[1]:
                    others = others.plus(balance)
            grants = admit_in_turn(own.plus(others), needs)
            self.kept[holder] = own.plus(Balance(0.0, sum(each or 0.0 for each in grants)))
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


class Ledgers:
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
        ends = results_of(asked)
        return ends if asked.called else (ends, asked)

    def settle(self, reservation, cost_usd, process=0):
        """Settle, and let the time pass in which that is written."""
        self.ledgers[process].settle(reservation, cost_usd)
        self.clock.advance(SAVE_WITHIN_S)

    def spent_usd(self):
        return sum(balance.spent_usd for balance in self.store.kept.values())


def test_reservations_hold_until_they_are_settled():
    """What runs counts as spent; afterwards the real cost does."""
    ledgers = Ledgers()
    (first,) = ledgers.ask(6.0)
    assert ledgers.ask(6.0) == [None]
    ledgers.settle(first, 1.0)
    (second,) = ledgers.ask(6.0)
    ledgers.settle(second, 12.0)
    assert ledgers.ask(0.0) == [None]
    assert ledgers.spent_usd() == 13.0


def test_a_burst_is_judged_in_one_step_after_the_one_under_way():
    """Fifty requests at once cost two calls, and get what ten can pay for."""
    ledgers = Ledgers()
    ledgers.store.late = []
    asked = [ledgers.ask(1.0)[0] for _ in range(50)]
    assert ledgers.store.calls == 1
    ledgers.store.answer()
    ledgers.store.answer()
    assert ledgers.store.calls == 2
    assert [ends[0] is not None for ends in asked].count(True) == 10


def test_two_processes_share_one_budget():
    """What one reserved or spent, the other cannot."""
    ledgers = Ledgers(2)
    (here,) = ledgers.ask(6.0, process=0)
    assert ledgers.ask(6.0, process=1) == [None]
    ledgers.settle(here, 3.0)
    (there,) = ledgers.ask(6.0, process=1)
    ledgers.settle(there, 7.0, process=1)
    assert ledgers.ask(0.0, process=0) == [None]


def test_a_client_that_leaves_while_it_waits_leaves_nothing_reserved():
    """The answer comes for nobody: its money is free again."""
    ledgers = Ledgers()
    ledgers.store.late = []
    ends, asked = ledgers.ask(10.0)
    asked.cancel()
    assert isinstance(ends[0], CancelledError)
    ledgers.store.answer()
    ledgers.store.answer()
    ledgers.store.late = None
    assert ledgers.ask(10.0)[0].usd == 10.0


def test_a_client_that_leaves_before_it_is_judged_takes_nothing_from_those_after_it():
    """It waits for the decision on another; the money goes to the request whose client is still there."""
    ledgers = Ledgers()
    ledgers.store.late = []
    first, _ = ledgers.ask(1.0)
    gone, asked = ledgers.ask(9.0)
    there, _ = ledgers.ask(9.0)
    asked.cancel()
    ledgers.store.answer()
    ledgers.store.answer()
    assert isinstance(gone[0], CancelledError)
    assert [each[0] and each[0].usd for each in (first, there)] == [1.0, 9.0]


def test_a_client_that_leaves_while_its_background_call_is_looked_up_is_not_served():
    """Else the upstream would be asked for nobody."""
    store = MemoryBudgets()
    store.find = lambda name: Deferred()
    ledger = SharedLedger(store, Clock())
    looking = Deferred.fromCoroutine(ledger.find_pending("resp_1"))
    looking.cancel()
    assert isinstance(outcome_of(looking), CancelledError)


def test_while_the_keeper_fails_the_process_decides_by_itself_and_writes_it_later():
    """Requests go on within what was last known; no money is forgotten."""
    ledgers = Ledgers(2)
    ledgers.settle(ledgers.ask(2.0, process=1)[0], 2.0, process=1)
    ledgers.settle(ledgers.ask(1.0)[0], 1.0)
    ledgers.store.fails = True
    (alone,) = ledgers.ask(6.0)
    assert ledgers.ask(2.0) == [None]
    ledgers.settle(alone, 5.0)
    assert ledgers.spent_usd() == 3.0
    ledgers.store.fails = False
    ledgers.ledger.start()
    ledgers.clock.advance(RENEW_S)
    assert ledgers.spent_usd() == 8.0
    ledgers.ledger.stop()


def test_what_was_spent_while_the_keeper_failed_counts():
    """A request that turned out dear in the meantime leaves nothing for the one that waited."""
    ledgers = Ledgers()
    (dear,) = ledgers.ask(1.0)
    ledgers.store.late, ledgers.store.fails = [], True
    ends, _ = ledgers.ask(1.0)
    ledgers.ledger.settle(dear, 10.0)
    ledgers.store.answer()
    assert ends == [None]


def test_a_failing_keeper_is_not_asked_again_at_once():
    """What cannot be written waits for the next request or renewal."""
    ledgers = Ledgers()
    ledgers.store.fails = True
    ledgers.settle(ledgers.ask(1.0)[0], 1.0)
    assert ledgers.store.calls == 2


def test_leases_of_what_runs_are_renewed_and_past_periods_forgotten():
    """A stream of hours keeps its reservation; yesterday takes no memory."""
    ledgers = Ledgers()
    ledgers.ledger.start()
    (running,) = ledgers.ask(5.0)
    calls = ledgers.store.calls
    ledgers.clock.advance(RENEW_S)
    assert ledgers.store.calls == calls + 1
    ledgers.settle(running, 1.0)
    ledgers.clock.advance(2 * 86400.0)
    ledgers.clock.advance(RENEW_S)
    assert not ledgers.ledger._books
    ledgers.ledger.stop()


def test_a_slow_upload_over_midnight_finds_what_was_spent_when_it_began():
    """Else a budget that is spent would begin anew for whoever began before midnight and sent slowly."""
    ledgers = Ledgers()
    ledgers.ledger.start()
    ledgers.settle(ledgers.ask(9.0)[0], 10.0)
    ledgers.clock.advance(86400.0)
    ledgers.clock.advance(RENEW_S)
    assert ledgers.ask(1.0) == [None]
    assert ledgers.spent_usd() == 10.0
    ledgers.ledger.stop()


def test_stop_waits_for_what_is_being_written():
    """The last request's cost is kept."""
    ledgers = Ledgers()
    (last,) = ledgers.ask(1.0)
    ledgers.store.late = []
    ledgers.ledger.settle(last, 0.5)
    stopped = results_of(ledgers.ledger.stop())
    assert not stopped
    ledgers.store.answer()
    assert stopped == [None]
    assert ledgers.spent_usd() == 0.5
    assert ledgers.clock.getDelayedCalls() == []


def test_a_busy_account_is_written_once_for_each_request():
    """What one cost goes with the next one's reservation."""
    ledgers = Ledgers()
    for _ in range(10):
        ledgers.ledger.settle(ledgers.ask(0.5)[0], 0.5)
    assert ledgers.store.calls == 10
    ledgers.clock.advance(SAVE_WITHIN_S)
    assert ledgers.spent_usd() == 5.0


def test_standing_tells_what_all_processes_spent_and_hold():
    """A look at the budget reserves nothing."""
    ledgers = Ledgers(2)
    ledgers.settle(ledgers.ask(2.0, process=1)[0], 2.0, process=1)
    ledgers.ask(3.0)
    assert result_of(ledgers.ledger.balance(DAY)) == Balance(2.0, 3.0)


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
    ledgers = Ledgers(3)
    ledgers.store.late = []
    asked, under_way, running, cost_usd = [], [], [], 0.0

    def collect():
        for process, ends in asked:
            if ends and not isinstance(ends[0], Exception | None):
                running.append((process, ends[0]))
                ends[:] = [None]

    for step, which, amount in steps:
        if step == "ask":
            answer = ledgers.ask(amount, process=which)
            ends, waiting = answer if isinstance(answer, tuple) else (answer, None)
            asked.append((which, ends))
            if waiting is not None:
                under_way.append(waiting)
        elif step == "settle" and running:
            process, reservation = running.pop(which % len(running))
            cost_usd += reservation.usd * amount
            ledgers.ledgers[process].settle(reservation, reservation.usd * amount)
        elif step == "leave" and under_way:
            under_way.pop(which % len(under_way)).cancel()
        elif step == "answer":
            ledgers.clock.advance(SAVE_WITHIN_S)
            ledgers.store.answer()
        collect()
        held = sum(reservation.usd for _, reservation in running)
        assert cost_usd + held <= 10.0 * (1 + 1e-6)
    for _ in range(len(steps) + 3):
        ledgers.store.answer()
        collect()
    for process, reservation in running:
        ledgers.ledgers[process].settle(reservation, 0.0)
    for _ in range(3):
        ledgers.clock.advance(SAVE_WITHIN_S)
        ledgers.store.answer()
    assert ledgers.spent_usd() == pytest.approx(cost_usd)
    assert sum(balance.held_usd for balance in ledgers.store.kept.values()) == pytest.approx(0.0)


def test_a_clock_set_forward_and_back_loses_nothing_that_was_spent():
    """A period that seemed to be over is the present one again: its money is still spent."""
    now = [NOON]
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
    assert result_of(ledger.balance(account)) == Balance(7.0, 0.0)
    assert result_of(ledger.reserve(account, Need(4.0, 10.0))) is None
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
    held = result_of(ledger.reserve(DAY, Need(4.0, 10.0)))
    ledger.keep([held], "batch_1")
    call = result_of(ledger.find_pending("batch_1"))
    assert [result_of(ledger.take_pending(call, 3.0)) for _ in range(2)] == [True, False]
    assert result_of(ledger.balance(DAY)) == Balance(3.0, 0.0)
    assert result_of(ledger.take_pending(PendingCall("batch_2"), 3.0)) is False


def test_a_client_that_leaves_while_a_call_is_taken_changes_nothing():
    """The store has taken it: it must be charged."""
    store = MemoryBudgets()
    ledger = SharedLedger(store, Clock())
    ledger.keep([result_of(ledger.reserve(DAY, Need(4.0, 10.0)))], "batch_1")
    call = result_of(ledger.find_pending("batch_1"))
    late = Deferred()
    store.take = lambda call, cost_usd: late
    taking = Deferred.fromCoroutine(ledger.take_pending(call, 3.0))
    taking.addErrback(lambda failure: failure.trap(CancelledError))
    taking.cancel()
    late.callback(True)
    assert result_of(ledger.balance(DAY)).spent_usd == 3.0


def test_a_keeper_that_fails_takes_nothing():
    """The money stays set aside for who asks next."""
    store = MemoryBudgets()
    store.take = lambda call, cost_usd: fail(OSError("no"))
    ledger = SharedLedger(store, Clock())
    assert result_of(ledger.take_pending(PendingCall("batch_1", DAY, 1.0), 3.0)) is False
    assert result_of(ledger.balance(DAY)) == Balance()


def test_a_call_is_charged_to_every_account_once():
    """A key, its group and the group above."""
    accounts = [DAY, Account(GROUP + "team", DAY.period), Account(GROUP + "all", "1970-01")]
    ledger = SharedLedger(MemoryBudgets(), Clock())
    ledger.has_groups = True
    ledger.keep([result_of(ledger.reserve(account, Need(4.0, 10.0))) for account in accounts], "batch_1")
    assert [result_of(ledger.balance(account)) for account in accounts] == [Balance(0.0, 4.0)] * 3
    call = result_of(ledger.find_pending("batch_1"))
    assert call.account == DAY
    assert [result_of(ledger.take_pending(call, 3.0)) for _ in range(2)] == [True, False]
    assert [result_of(ledger.balance(account)) for account in accounts] == [Balance(3.0, 0.0)] * 3
