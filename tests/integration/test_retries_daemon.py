"""Programs of the real `openai` SDK whose time-out is shorter than the answer.

tests/conformance/rejoin_run.py does a thousand questions, and kills daemons, workers and Redis meanwhile.
"""

from world.retry_books import Rounds, Setup


def test_each_question_is_asked_and_paid_once_by_two_workers(tmp_path):
    """Streams and documents, whole; the exchange log, the budget and the upstream agree."""
    books = Rounds(tmp_path, Setup(workers=2), 1).run(24, 0, 12)
    assert books.wrong == [], books
