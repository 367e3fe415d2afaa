"""What is remembered of requests is bounded, and never another request's."""

from openai_proxy.policies.cache.request_memo import Answered, RequestMemo

PLACE = (b"key", 60.0)


def test_what_was_remembered_is_found():
    """The same bytes have the same place; others have none."""
    memo = RequestMemo(1 << 20)
    memo.remember((b"body", b"/embeddings"), 4, PLACE)
    assert memo.get((b"body", b"/embeddings"), 4) is PLACE
    assert memo.get((b"body", b"/completions"), 4) is None


def test_what_is_not_asked_for_is_forgotten():
    """New requests push out old ones, but not those that are asked for again and again."""
    memo = RequestMemo(64 * 1024)
    memo.remember((b"often",), 5, PLACE)
    memo.remember((b"once",), 4, PLACE)
    for number in range(1000):
        memo.remember((number,), 100, PLACE)
        assert memo.get((b"often",), 5) is PLACE
    assert memo.get((b"once",), 4) is None
    assert sum(memo.get((number,), 100) is not None for number in range(1000)) < 64 * 1024 // 500


def test_large_bodies_are_not_remembered():
    """One large body does not push out everything else."""
    memo = RequestMemo(64 * 1024)
    memo.remember((b"large",), 2000, PLACE)
    assert memo.get((b"large",), 2000) is None


def test_hints_are_bounded():
    """What strangers ask fills no memory."""
    answered = Answered()
    for number in range(3 * Answered.KEPT):
        answered.note(b"%d" % number)
    assert 0 < len(answered.hashes) <= Answered.KEPT
    assert hash(b"%d" % number) in answered.hashes
