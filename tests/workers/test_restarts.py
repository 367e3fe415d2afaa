"""How soon an ended worker is started again."""

from openai_proxy.workers.restarts import CAP_S, SETTLED_S, Restarts


def test_first_end_is_answered_at_once():
    """A worker that was killed is back before anybody waits for it."""
    assert Restarts().delay_s(0.0) == 0.0


def test_worker_that_can_not_start_is_tried_less_and_less_often():
    """A broken machine is not kept busy with attempts."""
    restarts = Restarts()
    delays = [restarts.delay_s(0.0) for _ in range(20)]
    assert delays[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == CAP_S


def test_worker_that_served_counts_anew():
    """An accident after hours of service is a first one."""
    restarts = Restarts()
    for _ in range(5):
        restarts.delay_s(0.0)
    assert restarts.delay_s(SETTLED_S) == 0.0
    assert restarts.delay_s(0.0) == 0.0
    assert restarts.delay_s(0.0) == 0.5
