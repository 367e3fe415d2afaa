"""How slow a client may be, by numbers."""

import pytest

from openai_proxy.downstream.pace import (
    BODY_GRACE_S,
    LINGER_BYTES,
    LINGER_IDLE_S,
    LINGER_TOTAL_S,
    STALL_CHECK_S,
    BodyRate,
    Linger,
    WriteStall,
)


def test_a_body_may_be_slow_for_a_while():
    """Then its pace in the last ten seconds counts."""
    rate = BodyRate(100, now=10)
    assert not rate.is_too_slow(0, held=False, now=10 + BODY_GRACE_S)
    assert not rate.is_too_slow(600, held=False, now=16)
    assert rate.is_too_slow(600, held=False, now=16.1)
    assert not rate.is_too_slow(601 + 60_000, held=False, now=600)


def test_what_came_long_ago_makes_up_for_nothing():
    """60 MiB at once and then nothing held its memory for 14 days by the average."""
    rate = BodyRate(100, now=0)
    looks = [rate.is_too_slow(60 << 20, held=False, now=0.5 * look) for look in range(1, 30)]
    assert looks.index(True) == 20
    steady = BodyRate(100, now=0)
    assert not any(steady.is_too_slow(100 * now, held=False, now=now) for now in range(1, 2000))


def test_a_kept_body_has_a_time_in_all():
    """However steadily it comes; one that streams through has none."""
    rate = BodyRate(100, now=0)
    assert not any(rate.is_too_slow(200 * now, held=False, now=now, kept=True) for now in range(1, 601))
    assert rate.is_too_slow(200 * 601, held=False, now=601, kept=True)
    assert not rate.is_too_slow(200 * 602, held=False, now=602)


def test_time_in_which_a_body_was_held_back_does_not_count():
    """Neither what a look at it finds held, nor what is let go between two looks."""
    rate = BodyRate(100, now=0)
    assert not rate.is_too_slow(0, held=True, now=1000)
    rate.let_go(now=2000)
    assert not rate.is_too_slow(0, held=False, now=2000 + BODY_GRACE_S)
    assert rate.is_too_slow(0, held=False, now=2001 + BODY_GRACE_S)


@pytest.mark.parametrize(("limit_s", "look_s"), [(60, STALL_CHECK_S), (1, 0.5)])
def test_a_stall_is_looked_at_within_its_limit(limit_s, look_s):
    """Often enough for a limit of less than a second's pace."""
    assert WriteStall(limit_s, 1, now=0).next_check(7) == 7 + look_s


def test_a_stall_ends_with_any_byte_that_is_taken():
    """What counts is that nothing at all moves."""
    stall = WriteStall(30, 5000, now=0)
    assert not stall.is_over(5000, now=29.9)
    assert not stall.is_over(4999, now=30)
    assert not stall.is_over(4999, now=59.9)
    assert stall.is_over(4999, now=60)


def test_lingering_goes_on_while_bytes_come_but_not_for_ever():
    """Bounded in silence, in time and in bytes."""
    linger = Linger(now=100)
    assert linger.until(101) == 101 + LINGER_IDLE_S
    assert linger.until(100 + LINGER_TOTAL_S - 1) == 100 + LINGER_TOTAL_S
    assert not linger.is_enough(LINGER_BYTES - 1)
    assert not linger.is_enough(1)
    assert linger.is_enough(1)
