"""What several upstreams have shown: one sick model takes nothing from the others."""

import pytest

from openai_proxy.exchange.upstream_errors import UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.policies.routing.health import MOST_MODELS, UpstreamHealth
from openai_proxy.policies.routing.table import Upstream

A = Upstream("a", "http://a/v1", key=b"sk-a")
B = Upstream("b", "http://b/v1")
REFUSED = UpstreamUnreachable("The upstream refused the connection.", kind="connect", sent="no")
RESET = UpstreamUnreachable(kind="reset", sent="yes")
LATE = UpstreamTimeout(kind="timeout_first_byte", sent="yes")


class UpstreamPair:
    """What was reported of two upstreams, on a clock led by hand."""

    def __init__(self):
        self.changes = []
        self.health = UpstreamHealth([A, B], self.changes.append)
        self.now = 100.0

    def fail(self, what, model="big", upstream=A, times=1):
        for _ in range(times):
            if isinstance(what, Exception):
                self.health.failed(upstream, model, what, self.now, self.now)
            else:
                self.health.broken(upstream, model, str(what), self.now, self.now)

    def answer(self, model="small", status=200, upstream=A, times=1):
        for _ in range(times):
            self.health.answered(upstream, model, b"", status, self.now, self.now)

    def usable(self, model, upstream=A):
        return self.health.usable(upstream, model, b"", self.now)

    @property
    def reported(self):
        return [(c.upstream, c.model, c.opened, c.reason) for c in self.changes]


@pytest.mark.parametrize("what", [500, 502, 503, 504, 520, 529, RESET, LATE, "server_error"])
def test_only_the_sick_model_is_out(what):
    """Whatever it fails with, however often: the upstream's other models, and the model elsewhere, go on."""
    pair = UpstreamPair()
    pair.fail(what, times=50)
    assert not pair.usable("big")
    assert pair.usable("small")
    assert pair.usable("big", B)
    reason = what.kind if isinstance(what, Exception) else str(what)
    assert pair.reported == [("a", "big", True, reason)]
    pair.now += 1.0
    pair.answer("big")
    assert pair.reported[1:] == [("a", "big", False, "it answers again")]


@pytest.mark.parametrize(
    "error", [REFUSED, UpstreamTLSError(sent="no", kind="tls"), UpstreamTimeout(sent="no")]
)
def test_connections_that_fail_speak_for_the_whole_upstream(error):
    """No model is served if nothing connects; the other upstream is well."""
    pair = UpstreamPair()
    pair.fail(error, times=3)
    assert not pair.usable("small")
    assert pair.usable("small", B)
    assert [(c.model, c.opened) for c in pair.changes] == [(None, True)]
    assert error.message in pair.changes[0].reason
    pair.now += 1.0
    pair.answer("small")
    assert pair.usable("big")
    assert [(c.model, c.opened) for c in pair.changes] == [(None, True), (None, False)]


@pytest.mark.parametrize("what", [503, LATE])
def test_several_models_speak_for_the_whole_upstream(what):
    """503 and time-outs of one model are its own; of two at once they are the upstream's."""
    pair = UpstreamPair()
    pair.fail(what, "one", times=4)
    assert pair.usable("three")
    pair.fail(what, "two", times=4)
    assert not pair.usable("three")
    assert [c.model for c in pair.changes if c.opened] == [None]
    pair.now += 1.0
    pair.answer("three")
    assert pair.usable("three")


def test_500s_of_several_models_stay_theirs():
    """A 500 says that this model fails, not that the server is full."""
    pair = UpstreamPair()
    for model in ("one", "two", "three", "four"):
        pair.fail(500, model, times=6)
    assert pair.usable("five")
    assert {c.model for c in pair.changes} == {"one", "two", "three", "four"}


def test_an_upstream_that_serves_others_well_is_not_out():
    """Two models fail with 503 while most answers are good."""
    pair = UpstreamPair()
    pair.answer("small", times=20)
    pair.fail(503, "one", times=10)
    pair.fail(503, "two", times=10)
    assert pair.usable("small")
    assert not pair.usable("one")


@pytest.mark.parametrize("status", [200, 302, 400, 404, 422])
def test_answers_close_a_circuit(status):
    """Who says what is wrong with a request is alive."""
    pair = UpstreamPair()
    pair.fail(500, times=5)
    pair.now += 1.0
    pair.answer("big", status)
    assert pair.usable("big")


@pytest.mark.parametrize("status", [401, 403, 408, 409])
def test_what_says_nothing_about_a_model_changes_nothing(status):
    """A refused key is no sign that the model is well."""
    pair = UpstreamPair()
    pair.fail(500, times=5)
    pair.now += 1.0
    pair.answer("big", status)
    assert [c.opened for c in pair.changes] == [True]


def test_made_up_names_take_no_memory():
    """Strangers choose names; only those that an upstream serves or fails are remembered, and so many."""
    pair = UpstreamPair()
    for number in range(2 * MOST_MODELS):
        pair.answer(f"m{number}", 404)
    assert len(pair.health._models) == 0
    for number in range(2 * MOST_MODELS):
        pair.answer(f"m{number}")
    assert len(pair.health._models) <= MOST_MODELS
    pair.fail(500, "sick", times=5)
    for number in range(2 * MOST_MODELS):
        pair.answer(f"n{number}")
    assert not pair.usable("sick")


def test_a_substitute_that_does_not_know_a_model_is_none_for_a_minute():
    """It is not asked again in vain for each request."""
    pair = UpstreamPair()
    pair.health.unknown_model(B, "big", pair.now)
    assert not pair.usable("big", B)
    assert pair.usable("small", B)
    assert pair.usable("big", A)
    pair.now += 60.0
    assert pair.usable("big", B)


def test_an_upstream_that_takes_no_connections_waits_for_a_probe():
    """No request is spent on it, however long that takes; once it is reached one trial decides."""
    pair = UpstreamPair()
    health = pair.health
    pair.fail(REFUSED, times=3)
    assert health.wants_probe(A)
    assert not health.wants_probe(B)
    health.probed(A, False, pair.now)
    pair.now += 1000.0
    assert not pair.usable("small")
    assert health.describe(pair.now)[0] == {
        "name": "a",
        "state": "open",
        "reachable": False,
        "cooled_keys": 0,
        "models": [],
    }
    health.probed(A, True, pair.now)
    assert health.describe(pair.now)[0]["state"] == "half-open"
    assert pair.usable("small")
    health.begin(A, "small", b"", pair.now)
    assert not pair.usable("small")
    pair.answer("small")
    assert not health.wants_probe(A)
    assert pair.usable("small")


def test_a_probe_proves_what_one_failed_connection_only_suggests():
    """One refused connection, then a refused probe: out; a probe that gets through takes the suspicion away."""
    pair = UpstreamPair()
    pair.fail(REFUSED)
    assert pair.usable("small")
    assert pair.health.wants_probe(A)
    pair.health.probed(A, True, pair.now)
    assert not pair.health.wants_probe(A)
    pair.health.probed(A, False, pair.now)
    assert pair.usable("small")
    pair.fail(REFUSED)
    pair.health.probed(A, False, pair.now)
    assert not pair.usable("small")
    assert pair.reported == [("a", None, True, "it takes no connections")]


def test_an_upstream_that_listens_and_fails_does_not_flap():
    """A probe that gets through proves nothing more: each failed trial doubles the pause all the same."""
    pair, trials = UpstreamPair(), 0
    pair.fail(500, times=5)
    pair.fail(REFUSED, times=9)
    pair.health.probed(A, False, pair.now)
    for _ in range(60):
        pair.health.probed(A, True, pair.now)
        if pair.usable("big"):
            trials += 1
            pair.health.begin(A, "big", b"", pair.now)
            pair.fail(500)
        pair.now += 0.5
    assert trials <= 6


def test_a_late_answer_does_not_make_a_dead_upstream_well():
    """It was begun before connections failed."""
    pair = UpstreamPair()
    pair.fail(REFUSED, times=3)
    pair.health.probed(A, False, pair.now)
    pair.health.answered(A, "small", b"", 200, pair.now - 10.0, pair.now)
    assert not pair.usable("small")


def test_stale_connections_say_nothing():
    """A kept connection that died is no fault of an upstream."""
    pair = UpstreamPair()
    pair.fail(UpstreamUnreachable(sent="stale"), times=20)
    assert pair.usable("big")


# ---- keys


@pytest.mark.parametrize(
    ("spent", "asked_s", "out_s"),
    [
        (False, 20.0, 20.0),
        (False, 5.0, 5.0),
        (True, 5.0, 60.0),
        (True, None, 60.0),
        (False, 0.0, 0.0),
        (False, 1e9, 600.0),
    ],
)
def test_a_429_takes_only_its_key_out(spent, asked_s, out_s):
    """The key rests as long as the upstream asked; other keys and upstreams go on, and so does the model."""
    health = UpstreamHealth([A, B])
    health.limited(A, b"k", spent, asked_s, 100.0, 100.0)
    assert health.usable(A, "m", b"k", 100.0 + out_s)
    assert not out_s or not health.usable(A, "m", b"k", 100.0 + out_s - 0.01)
    assert health.usable(A, "m", b"other", 100.0)
    assert health.usable(B, "m", b"k", 100.0)


def test_a_429_that_does_not_say_how_long_cools_for_one_to_five_seconds():
    """Longer while it goes on; many at once are one; a while later it begins anew."""
    health, now, rests = UpstreamHealth([A]), 100.0, []
    for _ in range(5):
        for _ in range(10):
            health.limited(A, b"k", False, None, now, now)
        rest = next(s for s in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0) if health.usable(A, "m", b"k", now + s))
        rests.append(rest)
        now += rest
    assert rests == [1.0, 2.0, 4.0, 5.0, 5.0]
    now += 60.0
    health.limited(A, b"k", False, None, now, now)
    assert health.usable(A, "m", b"k", now + 1.0)


def test_a_key_without_quota_is_not_let_in_by_a_shorter_wait():
    """A late answer that asks for less does not shorten what is known."""
    health = UpstreamHealth([A, B])
    health.limited(A, b"k", True, None, 100.0, 100.0)
    health.limited(A, b"k", False, 1.0, 100.0, 100.0)
    assert not health.usable(A, "m", b"k", 159.0)
    assert health.usable(A, "m", b"k", 160.0)


def test_a_key_without_quota_is_tried_by_one_request_a_minute():
    """Nobody else's request is spent on finding out whether the bill was paid."""
    health = UpstreamHealth([A, B])
    health.limited(A, b"k", True, None, 100.0, 100.0)
    health.begin(A, "m", b"k", 160.0)
    assert not health.usable(A, "m", b"k", 160.0)
    health.limited(A, b"k", True, None, 160.0, 160.5)
    assert not health.usable(A, "m", b"k", 220.0)
    health.begin(A, "m", b"k", 221.0)
    health.answered(A, "m", b"k", 200, 221.0, 222.0)
    assert health.usable(A, "m", b"k", 222.0)
    health.begin(A, "m", b"k", 222.0)
    assert health.usable(A, "m", b"k", 222.0)


def test_keys_that_rested_long_ago_are_forgotten():
    """However many keys ran out of quota, what is kept of them ends."""
    health = UpstreamHealth([A])
    for number in range(50):
        health.limited(A, b"k%d" % number, True, None, 0.0, 0.0)
    health.limited(A, b"last", False, 1.0, 1000.0, 1000.0)
    assert health.describe(1000.0)[0]["cooled_keys"] == 1
    assert len(health._keys._until) == 1
