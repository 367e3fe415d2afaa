"""What an answer says of batches."""

import json

import pytest

from openai_proxy.exchange.usage import TokenKinds, Usage
from openai_proxy.policies.batches.state import BatchState, per_request, states_in

USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "model": "m",
    "input_file_id": "file-1",
    "status": "completed",
    "request_counts": {"total": 4, "completed": 3, "failed": 1},
    "usage": USAGE,
}
STATE = BatchState("batch_1", "completed", "m", "file-1", 4, 3, Usage(10, 5, 4, 2))


def states(document):
    return states_in(json.dumps(document).encode())


def test_a_batch_is_read_by_itself_and_in_a_list():
    """As `GET /batches/{id}` and `GET /batches` answer."""
    assert states(BATCH) == [STATE]
    assert states({"object": "list", "data": [BATCH, 7, {"object": "x"}, {"id": "b"}]}) == [
        STATE,
        BatchState("b"),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"id": 7}', b'{"id": ""}', b'{"error": {}}'])
def test_other_answers_are_no_batches(body):
    """Nothing is made up."""
    assert states_in(body) == []


def test_odd_members_count_as_not_said():
    """Neither long names nor counts that are none."""
    odd = {
        "id": "b",
        "status": ["completed"],
        "model": "m" * 300,
        "request_counts": {"total": -1, "completed": True},
        "usage": 7,
    }
    assert states(odd) == [BatchState("b")]


def test_zeros_are_no_usage_of_a_batch_that_answered():
    """Servers that do not count say zeros; a batch of which nothing was answered used none."""
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    (state,) = states({**BATCH, "usage": zeros})
    assert state.usage is None
    (state,) = states({**BATCH, "usage": zeros, "request_counts": {"total": 2, "completed": 0}})
    assert state.usage == Usage()


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        ("completed", True),
        ("failed", True),
        ("expired", True),
        ("cancelled", True),
        ("cancelling", False),
        ("finalizing", False),
        ("in_progress", False),
        (None, False),
    ],
)
def test_only_an_end_is_final(status, is_final):
    """A batch that is being cancelled still runs."""
    assert BatchState("b", status).is_final is is_final


@pytest.mark.parametrize(
    ("status", "requests", "completed", "share"),
    [
        ("completed", 4, 3, 0.75),
        ("expired", 4, 1, 0.25),
        ("cancelled", None, None, 1.0),
        ("completed", 0, None, 1.0),
        ("completed", 2, 3, 1.0),
        ("cancelled", 4, 0, 0.0),
        ("failed", None, None, 0.0),
    ],
)
def test_the_share_is_what_was_answered(status, requests, completed, share):
    """Of a batch without usage; if nobody counts, all of it."""
    assert BatchState("b", status, requests=requests, completed=completed).share == share


def test_usage_is_split_without_losing_a_token():
    """Each request's part times their number, and the rest, are the sum."""
    each, rest = per_request(Usage(10, 5, 4, 2), 3)
    assert (each, rest) == (Usage(3, 1, 1, 0), Usage(1, 2, 1, 2))
    assert per_request(Usage(10, 5), 1) == (Usage(10, 5), Usage())
    pictures = Usage(10, 5, kinds=TokenKinds(image_output_tokens=5))
    assert per_request(pictures, 3) == (pictures, Usage())
