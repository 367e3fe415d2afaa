"""`kill -9` loses no exchange whose end a client saw."""

import pytest
from world.kill9 import rounds


@pytest.mark.slow
def test_kill_9_loses_nothing(tmp_path):
    """A few rounds at random moments under load; tests/conformance/kill9_rounds.py does a hundred."""
    result = rounds(tmp_path, 3, seed=7)
    assert result.clean, result
    assert result.torn_by_kill >= 1
    assert result.logged >= result.seen > 0
