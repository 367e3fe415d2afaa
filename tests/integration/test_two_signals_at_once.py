"""A second SIGTERM right after the first one aborts, without a traceback in the log."""

import signal


def test_two_signals_at_once_leave_no_traceback(start):
    """An impatient operator or supervisor sends two: the daemon ends, without a defect in its log."""
    for _ in range(5):
        daemon = start().daemon
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGINT)
        assert daemon.wait_until_gone()
        assert not daemon.defects, daemon.defects[0]
