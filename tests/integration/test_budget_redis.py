"""Budgets shared through a real Redis, which dies and returns."""

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from world.services import PATIENT_S
from world.waiting import until

from openai_proxy.cost.budget import Account, Balance, Need, PendingCall
from openai_proxy.cost.ledger import RENEW_S, SharedLedger
from openai_proxy.cost.redis_budgets import RedisBudgets
from openai_proxy.net.redis_client import RedisClient
from openai_proxy.net.redis_url import parse_redis_url

DAY = Account("alice", "2026-11-21")


class Machine:
    """One daemon's way to Redis."""

    def __init__(self, redis, deadline_s=PATIENT_S, timers=reactor):
        self.client = RedisClient(reactor, parse_redis_url(redis.url), deadline_s=deadline_s)
        self.keeper = RedisBudgets(self.client)
        self.ledger = SharedLedger(self.keeper, timers)

    async def start(self):
        self.keeper.start()
        self.client.start()
        await until(lambda: self.client.connected)

    def reserve(self, usd, limit_usd=10.0, account=DAY):
        return Deferred.fromCoroutine(self.ledger.reserve(account, Need(usd, limit_usd)))


@pytest_twisted.async_yield_fixture
async def machines(redis):
    machines = [Machine(redis) for _ in range(2)]
    for machine in machines:
        await machine.start()
    yield machines
    for machine in machines:
        await machine.ledger.stop()
        await machine.client.stop()


@pytest_twisted.ensureDeferred
async def test_fifty_requests_at_two_machines_keep_one_budget(machines):
    """Parallel requests at two daemons get exactly what one budget holds."""
    asked = await gatherResults(machines[n % 2].reserve(1.0) for n in range(50))
    assert sum(each is not None for each in asked) == 10
    assert await machines[0].reserve(0.0) is None
    assert (await machines[0].reserve(1.0, account=Account("bob", DAY.period))).usd == 1.0


@pytest_twisted.ensureDeferred
async def test_what_one_spent_the_other_can_not_and_a_restart_neither(machines, redis):
    """Money is kept where all machines see it, whoever ends."""
    machines[0].ledger.settle(await machines[0].reserve(4.0), 7.0)
    await machines[0].ledger.balance(DAY)
    assert await machines[1].ledger.balance(DAY) == Balance(7.0, 0.0)
    assert await machines[1].reserve(4.0) is None
    restarted = Machine(redis)
    await restarted.start()
    assert await restarted.reserve(4.0) is None
    assert (await restarted.reserve(3.0)).usd == 3.0
    await restarted.ledger.stop()
    await restarted.client.stop()


@pytest_twisted.ensureDeferred
async def test_without_redis_each_machine_keeps_the_budget_as_it_knew_it(machines, redis):
    """Nothing is refused because of Redis, and what was spent meanwhile is written when it is back."""
    machine = machines[0]
    machine.ledger.settle(await machine.reserve(4.0), 4.0)
    await machine.ledger.balance(DAY)
    redis.kill()
    await until(lambda: not machine.client.connected)
    alone = await machine.reserve(5.0)
    assert alone.usd == 5.0
    assert await machine.reserve(5.0) is None
    machine.ledger.settle(alone, 5.0)
    redis.start()
    await until(lambda: all(each.client.connected for each in machines))
    await machine.ledger.balance(DAY)
    assert await machines[1].ledger.balance(DAY) == Balance(9.0, 0.0)


@pytest_twisted.ensureDeferred
async def test_a_pending_call_is_held_for_all_machines_and_charged_once(machines):
    """A background response may be asked for at any machine, and after any restart."""
    here, there = machines
    reservation = await here.reserve(4.0)
    here.ledger.keep([reservation], "resp_1")
    await until(lambda: not here.ledger._books[DAY].running)
    await here.ledger.balance(DAY)  # writes that nothing else is held
    assert await there.ledger.balance(DAY) == Balance(0.0, 4.0)
    call = await there.ledger.find_pending("resp_1")
    assert call == PendingCall("resp_1", DAY, 4.0)
    there.ledger.settle_pending(call, 2.5)
    here.ledger.settle_pending(call, 2.5)
    books = [machine.ledger._books[DAY] for machine in machines]
    await until(lambda: sum(book.spent_usd for book in books) > 0.0)
    standings = [await machine.ledger.balance(DAY) for machine in (here, there, here)]
    assert standings[1:] == [Balance(2.5, 0.0)] * 2
    assert await there.ledger.find_pending("resp_1") is None


@pytest.mark.parametrize("abandoned", [False, True], ids=["it answers late", "its connection is given up"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_while_redis_is_frozen_leaves_nothing_reserved(machines, redis, abandoned):
    """Redis sets the money aside when it is thawed; the next renewal at the latest says that nobody needs it."""
    clock = Clock()
    frozen = Machine(redis, 0.05 if abandoned else PATIENT_S, clock)
    await frozen.start()
    frozen.ledger.start()
    redis.freeze()
    asked = frozen.reserve(8.0)
    ends = []
    asked.addBoth(ends.append)
    asked.cancel()
    assert ends[0].check(CancelledError)
    if abandoned:
        await until(lambda: not frozen.client.connected)
        await until(lambda: frozen.client._connection is None)
    redis.thaw()
    await until(lambda: all(each.client.connected for each in (*machines, frozen)))
    await until(lambda: not frozen.ledger._books[DAY].busy)
    clock.advance(RENEW_S)
    await until(lambda: not frozen.ledger._books[DAY].busy)
    assert await machines[0].ledger.balance(DAY) == Balance(0.0, 0.0)
    assert (await machines[1].reserve(10.0)).usd == 10.0
    await frozen.ledger.stop()
    await frozen.client.stop()
