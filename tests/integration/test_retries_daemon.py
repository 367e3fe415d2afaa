"""Programs of the real `openai` SDK whose time-out is shorter than the answer, and what dies meanwhile.

tests/conformance/rejoin_run.py does a thousand questions and a hundred kills.
"""

import pytest
from world.retry_books import Rounds, Setup


def test_each_question_is_asked_and_paid_once_by_two_workers(tmp_path):
    """Streams and documents, whole; the exchange log, the budget and the upstream agree."""
    books = Rounds(tmp_path, Setup(workers=2), 1).run(24, 0, 12)
    assert books.wrong == [], books


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup",
    [Setup(kills="daemon"), Setup(workers=2, redis=True, kills="worker"), Setup(redis=True, kills="redis")],
    ids=["daemon", "worker", "redis"],
)
def test_nothing_is_paid_twice_after_kill_9(tmp_path, setup):
    """All answers come whole all the same."""
    books = Rounds(tmp_path, setup, 1).run(40, 3, 16)
    assert books.wrong == [], books
    assert books.kills >= 1
