"""One connection to Redis over a transport in memory: replies in order, deadlines, and an end for what is no RESP."""

import ssl
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from openai_proxy.net.redis_connection import NOT_RESP, TOO_LARGE, RedisAway, RedisConnection, RedisRefused

DEADLINE_S = 0.05


class CountingTransport(StringTransport):
    aborted = 0

    def abortConnection(self):
        self.aborted += 1


class TurnClock(Clock):
    """A clock whose calls of one turn add to the next one, as a reactor's do."""

    def advance(self, seconds):
        self.rightNow += seconds
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class RedisInMemory:
    """A connection, its transport and its clock; `call` returns a list that gets the end of a call."""

    def __init__(self):
        self.clock = TurnClock()
        self.transport = CountingTransport()
        self.connection = RedisConnection(self.clock)
        self.connection.makeConnection(self.transport)
        self.late = []

    def call(self, *command):
        ends = []
        self.connection.call(command, DEADLINE_S, self.late.append).addBoth(ends.append)
        return ends

    def receive(self, data):
        self.connection.dataReceived(data)

    def lose(self, reason=None):
        self.connection.connectionLost(Failure(reason or ConnectionDone()))

    def pass_deadline(self):
        self.clock.advance(DEADLINE_S)
        self.clock.advance(0)

    def advance(self, seconds):
        self.clock.advance(seconds)


@pytest.fixture
def redis():
    return RedisInMemory()


REPLIES = [
    (b"$5\r\n12345\r\n", b"12345"),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b":-7\r\n", -7),
    (b"+OK\r\n", b"OK"),
    (b"*3\r\n:1\r\n$2\r\n\xff\x00\r\n$-1\r\n", [1, b"\xff\x00", None]),
    (b"*0\r\n", []),
    (b"*-1\r\n", None),
]


@given(st.lists(st.sampled_from(REPLIES), min_size=1, max_size=8), st.data())
def test_replies_are_the_same_however_they_are_cut(replies, data):
    """Each goes to its own command, as bytes, whatever the network made of them."""
    redis = RedisInMemory()
    ends = [redis.call("GET", "k") for _ in replies]
    wire = b"".join(wire for wire, _ in replies)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=len(wire)))
    edges = [0, *sorted(cuts), len(wire)]
    for start, end in pairwise(edges):
        redis.receive(wire[start:end])
    assert ends == [[value] for _, value in replies]
    assert redis.transport.aborted == 0


def test_a_command_is_an_array_of_bulk_strings(redis):
    """Text, bytes and numbers go out as they are."""
    redis.call("SET", b"\xff", "é", 1, 1.5)
    assert (
        redis.transport.value()
        == b"*5\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$2\r\n\xc3\xa9\r\n$1\r\n1\r\n$3\r\n1.5\r\n"
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (b"LOADING Redis is loading the dataset in memory", "LOADING"),
        (b"MOVED 3999 127.0.0.1:6381", "MOVED"),
        (b"READONLY You can't write against a read only replica.", "READONLY"),
        (
            b"ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: -READONLY You can't",
            "READONLY",
        ),
        (b"NOAUTH Authentication required.", "NOAUTH"),
        (b"WRONGPASS invalid username-password pair", "WRONGPASS"),
        (b"NOSCRIPT No matching script.", "NOSCRIPT"),
        (b"ERR unknown command 'CANARY'", "ERR"),
        (b"a word in lower case, CANARY", "without a code"),
        (b"", "without a code"),
        (b"\xff\xfe", "without a code"),
    ],
)
def test_a_refusal_is_its_code_and_nothing_that_was_sent(redis, words, code):
    """It may end in a log; the next reply goes to the next command."""
    refused, served = redis.call("SET", "k", "CANARY"), redis.call("GET", "k")
    redis.receive(b"-%s\r\n$1\r\nx\r\n" % words)
    assert (refused[0].type, refused[0].value.code) == (RedisRefused, code)
    assert "CANARY" not in refused[0].getTraceback()
    assert served == [b"x"]


@pytest.mark.parametrize(
    "words",
    [
        b"\xff\xfe\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b":99999999999999999999999\r\n",
        b"*4294967295\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"+OK\r\n+a reply that nobody asked for\r\n",
    ],
)
def test_what_is_no_resp_ends_the_connection_and_fails_its_calls(redis, words):
    """Whatever comes after it is not looked at."""
    redis.call("GET", "a")
    redis.receive(words)
    assert (redis.transport.aborted, redis.connection.closed, redis.connection.usable) == (1, NOT_RESP, False)
    redis.receive(b"+OK\r\n")
    redis.lose()
    assert redis.transport.aborted == 1
    (refused,) = redis.call("GET", "b")
    assert (refused.type, str(refused.value)) == (RedisAway, NOT_RESP)


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_and_settles_every_call(garbage):
    """Each call has its reply or fails when the connection is lost; no timer stays."""
    redis = RedisInMemory()
    ends = [redis.call("GET", "k") for _ in range(3)]
    redis.receive(garbage)
    redis.lose()
    assert [len(end) for end in ends] == [1, 1, 1]
    assert redis.clock.getDelayedCalls() == []


def test_a_reply_above_the_bound_ends_the_connection(redis):
    """No server can fill the memory of this process, with one huge value or with a list that never ends."""
    redis.connection.MOST_BYTES = 1000
    ends = redis.call("GET", "k")
    redis.receive(b"*100000\r\n" + b":1\r\n" * 200)
    assert redis.connection.closed is None
    redis.receive(b":1\r\n" * 100)
    assert redis.connection.closed == TOO_LARGE
    redis.lose()
    assert str(ends[0].value) == TOO_LARGE


def test_many_replies_may_be_larger_than_the_bound_of_one(redis):
    """The bound is that of one reply, not of a connection's life."""
    redis.connection.MOST_BYTES = 1000
    for _ in range(100):
        ends = redis.call("GET", "k")
        redis.receive(b"$500\r\n%s\r\n" % (b"x" * 500))
        assert ends == [b"x" * 500]


def test_commands_above_the_bound_fail_and_are_not_sent(redis):
    """By number and by size; there is room again when replies have come."""
    redis.connection.MOST_COMMANDS, redis.connection.MOST_BYTES = 2, 1000
    redis.call("GET", "a")
    redis.call("GET", "b")
    sent = redis.transport.value()
    (full,) = redis.call("GET", "c")
    assert full.type is RedisAway
    redis.receive(b"$-1\r\n")
    (large,) = redis.call("SET", "d", b"x" * 1000)
    assert (large.type, redis.transport.value()) == (RedisAway, sent)
    redis.receive(b"$-1\r\n")
    redis.call("GET", "e")
    assert len(redis.transport.value()) > len(sent)


def test_an_overdue_reply_goes_to_no_other_command(redis):
    """It is given to `late`, in its turn; the connection is usable again."""
    first = redis.call("GET", "a")
    redis.pass_deadline()
    assert (first[0].type, str(first[0].value), redis.connection.usable) == (RedisAway, "no answer", False)
    second = redis.call("GET", "b")
    redis.receive(b"$3\r\nfor\r\n")
    assert (redis.late, second, redis.connection.usable) == ([b"for"], [], True)
    redis.receive(b"$2\r\nto\r\n")
    assert (redis.late, second) == ([b"for"], [b"to"])
    assert redis.clock.getDelayedCalls() == []


def test_the_reply_of_a_command_whose_caller_left_goes_to_no_other(redis):
    """A refusal is nothing that came late."""
    ends = []
    left = [redis.connection.call(("GET", "a"), DEADLINE_S, redis.late.append) for _ in range(2)]
    for each in left:
        each.addErrback(ends.append)
        each.cancel()
    kept = redis.call("GET", "b")
    redis.receive(b"$3\r\nfor\r\n-ERR no\r\n$2\r\nto\r\n")
    assert (redis.late, kept) == ([b"for"], [b"to"])


def test_a_reply_that_waited_in_the_socket_is_in_time(redis):
    """This process was busy for the whole deadline: the sockets are read before anything is judged."""
    ends = redis.call("GET", "a")
    redis.advance(10 * DEADLINE_S)
    redis.receive(b"$1\r\nx\r\n")
    assert (ends, redis.connection.usable) == ([b"x"], True)
    assert redis.clock.getDelayedCalls() == []


def test_a_connection_that_owes_a_reply_for_a_second_is_aborted(redis):
    """Half a reply is none."""
    redis.call("GET", "a")
    redis.receive(b"$5\r\n12")
    redis.pass_deadline()
    redis.advance(RedisConnection.ABANDON_AFTER_S - 0.01)
    assert redis.transport.aborted == 0
    redis.advance(0.01)
    assert (redis.transport.aborted, redis.connection.closed) == (1, "no answer")
    redis.receive(b"345\r\n")
    redis.lose()
    assert (redis.late, redis.clock.getDelayedCalls()) == ([], [])


@pytest.mark.parametrize(
    ("reason", "words"), [(ConnectionDone(), "it hung up"), (ssl.SSLError(1, "[SSL] x"), "TLS failed")]
)
def test_a_lost_connection_fails_its_calls_and_says_why(redis, reason, words):
    """Each of those that wait for its end is called, also one that comes afterwards."""
    ends, lost = redis.call("GET", "a"), []
    left = redis.connection.when_lost()
    left.addErrback(lambda _: None)
    left.cancel()
    redis.connection.when_lost().addCallback(lost.append)
    redis.lose(reason)
    redis.connection.when_lost().addCallback(lost.append)
    assert (ends[0].type, str(ends[0].value), lost) == (RedisAway, words, [None, None])
    redis.connection.abort("stopped")
    assert (redis.transport.aborted, redis.connection.closed) == (0, words)


def test_a_call_made_when_another_fails_is_not_sent(redis):
    """A caller that tries again in its errback gets no dead connection's silence."""
    again = []
    first = redis.connection.call(("GET", "a"), DEADLINE_S)
    first.addErrback(lambda _: again.extend([redis.connection.usable, redis.call("GET", "b")]))
    redis.lose()
    assert (again[0], again[1][0].type) == (False, RedisAway)
