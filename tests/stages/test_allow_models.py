"""A key with an allow-list uses no other model, wherever the model is named."""

import json

import pytest
from fakes import through

from openai_proxy.core.errors import ModelNotAllowed
from openai_proxy.core.exchange import Exchange
from openai_proxy.core.keyring import ClientKey, Keyring, key_digest
from openai_proxy.messages import ProxyRequest
from openai_proxy.stages.allow_models import AllowModels

KEYRING = Keyring(
    [
        ClientKey("listed", key_digest(b"a"), b"up", models=("gpt-4o", "text-*")),
        ClientKey("free", key_digest(b"b"), b"up"),
    ]
)


def admitted(key, target=b"/chat/completions", body=b"{}", document=None, upgrade=False, path_model=None):
    if document is not None and body == b"{}":
        body = json.dumps(document).encode()
    exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/x", key=key)
    request = ProxyRequest(
        method=b"POST",
        target=target,
        headers=[],
        body=body,
        exchange=exchange,
        document=document,
        upgrade=upgrade,
        path_model=path_model,
    )
    forwarded, failures = [], []

    async def forward(request):
        forwarded.append(request)

    through(AllowModels(KEYRING), request, forward).addErrback(failures.append)
    assert all(f.check(ModelNotAllowed) for f in failures)
    assert len(forwarded) + len(failures) == 1
    return bool(forwarded)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"document": {"model": "gpt-4o"}}, True),
        ({"document": {"model": "text-embedding-3-small"}}, True),
        ({"document": {"model": "gpt-5"}}, False),
        ({"document": {"model": 7}}, False),
        ({"document": {}}, True),
        ({"document": {"model": "gpt-4o"}, "path_model": "gpt-5"}, False),
        ({"document": {"model": "gpt-5"}, "path_model": "gpt-4o"}, True),
        ({"body": b"a form", "path_model": "gpt-4o"}, True),
        ({"body": None, "target": b"/deployments/gpt-5", "path_model": "gpt-5"}, False),
        ({"body": None, "target": b"/realtime?deployment=gpt-5"}, False),
        ({"body": None, "target": b"/models"}, True),
        ({"body": None, "target": b"/models/gpt-4o"}, True),
        ({"body": None, "target": b"/models/gpt-5"}, False),
        ({"body": None, "target": b"/models/gpt%2D5?x=1"}, False),
        ({"body": None, "target": b"/%6dodels/gpt-5"}, False),
        ({"body": None, "target": b"/realtime?model=gpt-4o"}, True),
        ({"body": None, "target": b"/realtime?x=1&m%6Fdel=gpt%2D5"}, False),
        ({"body": None, "target": b"/realtime?model=gpt-4o&model=gpt-5"}, False),
        ({"target": b"/audio/transcriptions", "body": object()}, False),
        ({"document": {"model": "gpt-4o"}, "body": b' {"model":"gpt-4o","x":{"model":"gpt-5"}}'}, True),
        ({"document": {"model": "gpt-4o"}, "body": b'{"model":"gpt-5","model":"gpt-4o"}'}, False),
        ({"document": {"model": "gpt-4o"}, "body": b'{"\\u006dodel":"gpt-5","model":"gpt-4o"}'}, False),
        ({"body": None, "target": b"/realtime?model=gpt-4o", "upgrade": True}, True),
        ({"body": None, "target": b"/responses", "upgrade": True}, False),
        ({"body": b"\x1f\x8b compressed"}, False),
    ],
)
def test_a_listed_key_uses_its_models_alone(fields, expected):
    """What can not be read could name any model, and is refused."""
    assert expected is admitted("listed", **fields)


@pytest.mark.parametrize("key", ["free", None, "unknown"])
def test_others_use_any_model(key):
    """Without an allow-list nothing is checked."""
    assert admitted(key, body=object())
