"""Which requests may be made twice, for every kind of the API."""

import pytest

from openai_proxy.policies.routing.repeatable import creates_nothing, may_arrive_twice
from openai_proxy.wire.targets import map_target

KEY = [(b"Idempotency-Key", b"one")]

INFERENCES = [
    ("chat/completions", {"model": "m", "messages": []}),
    ("chat/completions", None),
    ("completions", {"model": "m"}),
    ("embeddings", {"model": "m", "input": "x"}),
    ("decisions", {"model": "m", "input": "x", "questions": []}),
    ("moderations", {"input": "x"}),
    ("responses", {"model": "m", "input": "x"}),
    ("responses", {"model": "m", "background": False}),
    ("responses/compact", {"model": "m"}),
    ("responses/input_tokens", {"model": "m"}),
    ("audio/speech", {"model": "m", "input": "x"}),
    ("audio/transcriptions", None),
    ("audio/translations", None),
    ("images/generations", {"prompt": "x"}),
    ("images/edits", None),
    ("images/variations", None),
]

CREATIONS = [
    ("responses", {"model": "m", "background": True}),
    ("responses", {"model": "m", "conversation": "conv_1"}),
    ("responses", None),
    ("batches", {"input_file_id": "f"}),
    ("files", None),
    ("uploads", {}),
    ("uploads/{id}/parts", None),
    ("fine_tuning/jobs", {"model": "m"}),
    ("threads", {}),
    ("threads/runs", {}),
    ("threads/{id}/messages", {}),
    ("threads/{id}/runs", {"assistant_id": "a"}),
    ("assistants", {}),
    ("vector_stores", {}),
    ("conversations", {}),
    ("conversations/{id}/items", {}),
    ("videos", {}),
    ("evals", {}),
    ("evals/{id}/runs", {}),
    ("containers", {}),
    ("realtime/client_secrets", {}),
    ("chat/completions/{id}", {"metadata": {}}),
    ("responses/{id}/cancel", None),
    ("organization/admin_api_keys", {}),
    ("other", {}),
]


@pytest.mark.parametrize(("endpoint", "document"), INFERENCES)
def test_an_inference_creates_nothing(endpoint, document):
    """Whatever failed of it, its answer was its only effect."""
    assert creates_nothing(b"POST", endpoint, document, [])


@pytest.mark.parametrize(("endpoint", "document"), CREATIONS)
def test_endpoint_and_body_say_what_creates_something(endpoint, document):
    """It may be made once, unless the upstream can recognise it again."""
    assert not creates_nothing(b"POST", endpoint, document, [])
    assert creates_nothing(b"POST", endpoint, document, KEY)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (b"GET", True),
        (b"HEAD", True),
        (b"OPTIONS", True),
        (b"DELETE", False),
        (b"PUT", False),
        (b"PATCH", False),
    ],
)
def test_methods(method, expected):
    """Reading creates nothing."""
    assert expected == creates_nothing(method, "files/{id}", None, [])


def test_what_may_arrive_twice():
    """After a reset the upstream may have acted on it: that must do no harm."""
    assert [may_arrive_twice(m, []) for m in (b"GET", b"DELETE", b"PUT", b"POST", b"PATCH")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert may_arrive_twice(b"POST", KEY)


@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/deployments/x", "/v1/deployments/x", "/v1/engines/x"])
@pytest.mark.parametrize(("endpoint", "document"), INFERENCES)
def test_the_endpoints_are_those_of_the_paths(endpoint, document, prefix):
    """A name that the paths never give would never be found, nor one that hides in another form."""
    assert map_target(f"{prefix}/{endpoint}".encode()).endpoint == endpoint
