"""Limits that the supervisor keeps for its workers."""

import pytest
from fakes import result_of
from twisted.internet.defer import CancelledError, Deferred
from workers.links import linked, lose

from openai_proxy.exchange.errors import ShuttingDown
from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.limits.rules import Limits
from openai_proxy.workers.link import Link
from openai_proxy.workers.shared_limits import LimitServer, SupervisedStore

ONE_AT_ONCE = Limits(concurrent_requests=1)


class Supervisor:
    """A supervisor with two workers."""

    def __init__(self):
        self.now = 0.0
        self.store = EmbeddedStore(lambda: self.now)
        self.limit_servers, self.links, self.workers = [], [], []
        for _ in range(2):
            limit_server = LimitServer(self.store)
            ears = {"finish": limit_server.finish, "settle": limit_server.settle}
            here, there = linked(
                Link(ears, {"admit": limit_server.admit}, limit_server.close), Link({}, {}, lambda: None)
            )
            self.limit_servers.append(limit_server)
            self.links.append((here, there))
            self.workers.append(SupervisedStore(there))


@pytest.fixture
def supervisor():
    return Supervisor()


def begin(store, limits, model_tokens=0.0, slot="s"):
    return Deferred.fromCoroutine(store.admit("key", limits, model_tokens, slot))


def admit(*arguments, **keywords):
    return result_of(begin(*arguments, **keywords))


def test_one_limit_for_all_workers(supervisor):
    """A slot taken by one is taken for the other, and free when it is given back."""
    first, second = supervisor.workers
    held = admit(first, ONE_AT_ONCE, slot="a")
    assert held.admitted
    assert not admit(second, ONE_AT_ONCE, slot="b").admitted
    first.finish(held, 0.0)
    assert admit(second, ONE_AT_ONCE, slot="b").admitted


def test_model_tokens_are_settled(supervisor):
    """What an exchange really used is charged to the shared bucket."""
    limits = Limits(model_tokens_per_minute=100)
    first, second = supervisor.workers
    first.finish(admit(first, limits, 50.0, slot="a"), 90.0)
    assert admit(second, limits, 20.0, slot="b").levels.model_tokens == 10.0


def test_a_dead_worker_gives_its_slots_back(supervisor):
    """What its requests reserved stays charged: nobody knows what they used."""
    limits = Limits(model_tokens_per_minute=100, concurrent_requests=1)
    first, second = supervisor.workers
    admit(first, limits, 60.0, slot="a")
    lose(*supervisor.links[0])
    again = admit(second, limits, 30.0, slot="b")
    assert again.admitted
    assert again.levels.model_tokens == 40.0


def test_a_client_that_leaves_while_it_is_asked_leaves_no_slot(supervisor):
    """The answer comes for nobody, and gives back what it took."""
    first, second = supervisor.workers
    _, there = supervisor.links[0]
    there.transport.held = True
    asked = begin(first, ONE_AT_ONCE, slot="a")
    failures = []
    asked.addErrback(lambda failure: failures.append(failure.type))
    asked.cancel()
    assert failures == [CancelledError]
    there.transport.held = False
    there.transport.deliver()
    assert admit(second, ONE_AT_ONCE, slot="b").admitted


def test_without_a_supervisor_a_request_is_told_to_come_back(supervisor):
    """The worker drains then: 503, not a defect."""
    lose(*supervisor.links[0])
    failures = []
    begin(supervisor.workers[0], ONE_AT_ONCE).addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ShuttingDown]


def test_finishing_twice_frees_one_slot(supervisor):
    """A worker that says more than it held harms nobody."""
    first, second = supervisor.workers
    held = admit(first, ONE_AT_ONCE, slot="a")
    first.finish(held, 0.0)
    assert admit(second, ONE_AT_ONCE, slot="b").admitted
    first.finish(held, 0.0)
    assert not admit(first, ONE_AT_ONCE, slot="c").admitted
