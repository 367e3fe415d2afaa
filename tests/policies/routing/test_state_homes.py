"""What several processes and machines know together."""

from fakes import result_of
from twisted.internet.defer import fail, succeed

from openai_proxy.policies.routing.redis_state import PREFIX, RedisState
from openai_proxy.policies.routing.state_homes import StateHomes, StateMemory


class Redis:
    """Answers from a dict; `away` fails."""

    def __init__(self):
        self.values, self.calls, self.away = {}, [], False

    def call(self, *args):
        self.calls.append(args)
        if self.away:
            return fail(ConnectionError())
        if args[0] == "SET":
            self.values[args[1]] = args[2]
            return succeed(b"OK")
        return succeed([self.values.get(name) for name in args[1:]])


def homes(redis):
    return StateHomes(StateMemory(lambda: 0.0, ttl_s=60.0), [RedisState(redis)])


def find(state, *names):
    return result_of(state.find(names))


def test_another_machine_finds_what_one_learnt():
    """It asks Redis once, and remembers."""
    redis = Redis()
    homes(redis).keep([1, 2], 0xABCDEF0123456789)
    assert redis.calls[0] == ("SET", PREFIX + b"%016x" % 1, b"abcdef0123456789", "PX", 60_000)
    other = homes(redis)
    assert find(other, 1, 2, 3) == {1: 0xABCDEF0123456789, 2: 0xABCDEF0123456789}
    asked = len(redis.calls)
    assert find(other, 1) == {1: 0xABCDEF0123456789}
    assert len(redis.calls) == asked


def test_a_redis_that_is_away_knows_nothing():
    """What is known here counts, and nobody fails."""
    redis = Redis()
    redis.away = True
    state = homes(redis)
    state.keep([1], 5)
    assert find(state, 1, 2) == {1: 5}
    redis.away = False
    redis.values[PREFIX + b"%016x" % 2] = b"not a number at "
    assert find(state, 2) == {}
