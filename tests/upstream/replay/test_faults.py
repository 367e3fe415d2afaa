"""Faults that are met on purpose: which strike, and what they leave of an answer."""

import pytest

from openai_proxy.upstream.replay.faults import FaultRule, disconnected, find_fault, stalled
from openai_proxy.wire.fault_kinds import parse_fault


@pytest.mark.parametrize(
    "kind", ["status:200", "status:600", "status:4.5", "slow", "slow:x", "nothing:1", "stall_s:-1"]
)
def test_a_kind_of_fault_that_is_none_is_refused(kind):
    """The start says what there is."""
    with pytest.raises(ValueError, match=r"status|whole"):
        parse_fault(kind)


def test_faults_strike_at_their_rate_and_the_same_in_every_run():
    """By endpoint and model; another seed strikes others."""

    def run(seed):
        rules = [FaultRule(parse_fault("status:429"), "chat/*", "gpt-*", 0.5, seed)]
        assert find_fault(rules, "embeddings", "gpt-4o") is None
        assert find_fault(rules, "chat/completions", "o3") is None
        return [find_fault(rules, "chat/completions", "gpt-4o") is not None for _ in range(100)]

    assert run(1) == run(1) != run(2)
    assert 30 < sum(run(1)) < 70


def cut(chunks, events):
    came, steps = [], disconnected(iter([(0.0, each) for each in chunks]), events)
    try:
        for _, data in steps:
            came.append(data)
    except Exception as error:
        return b"".join(came), type(error).__name__
    return b"".join(came), None


@pytest.mark.parametrize(
    ("events", "came"),
    [(0, b""), (1, b"a\n\n"), (2, b"a\n\nb\n\n"), (3, b"a\n\nb\n\nc\n\n"), (9, b"a\n\nb\n\nc\n\n")],
)
def test_a_disconnection_comes_after_so_many_events(events, came):
    """However they were cut into chunks."""
    assert cut([b"a\n\nb\n\n", b"c\n\n"], events) == (came, "Cut")


def test_a_stall_comes_before_the_first_part():
    """And only there."""
    assert list(stalled(iter([(1, b"a"), (1, b"b")]), 5)) == [(6, b"a"), (1, b"b")]
