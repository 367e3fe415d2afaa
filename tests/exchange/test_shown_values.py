"""What Python shows of an object stands in tracebacks: `KeyError: <exchange>`, a failed assertion."""

import importlib
import pkgutil

import attrs
import fakes
import pytest

import openai_proxy
from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse

PAYLOADS = {"body", "content", "credential", "data", "document", "request_headers", "secret"}
"""Names of fields that hold what strangers sent, or a key."""
LINES = ("HeaderPairs", "HeaderLines")
"""Types of fields that hold header lines, with the credentials among them."""
SWITCH = ("settings.fields", "settings.reference")
"""There `secret` says whether a setting is one."""


def values():
    """Yield each class of the package that attrs has made."""
    for module in pkgutil.walk_packages(openai_proxy.__path__, "openai_proxy."):
        if not module.name.endswith("__main__"):
            for found in vars(importlib.import_module(module.name)).values():
                if isinstance(found, type) and attrs.has(found) and found.__module__ == module.name:
                    yield found


def test_no_value_shows_what_strangers_sent():
    """Neither bodies nor header lines nor keys: an object that holds them shows its class only, or leaves them out."""
    shown = [
        f"{each.__module__}.{each.__name__}.{field.name}"
        for each in values()
        if each.__repr__ is not object.__repr__ and not each.__module__.endswith(SWITCH)
        for field in attrs.fields(each)
        if field.repr and (field.name in PAYLOADS or any(kind in str(field.type) for kind in LINES))
    ]
    assert shown == []


@pytest.mark.parametrize("shows", [repr, str, "{}".format])
def test_an_exchange_and_its_messages_show_no_key_and_no_prompt(shows):
    """They are keys of tables, and so the message of a KeyError."""
    lines = [(b"Authorization", b"Bearer sk-canary")]
    exchange = fakes.exchange(request_headers=lines, request_body=b"canary")
    request = ProxyRequest(b"POST", b"/x", lines, b"canary", exchange, credential=b"sk-canary")
    for each in (
        exchange,
        request,
        ProxyResponse(200, b"OK", lines, WholeBody(b"canary")),
        WholeBody(b"canary"),
    ):
        assert "canary" not in shows(each)
