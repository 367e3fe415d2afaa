"""Observer specs as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.observe.spec import ObserverSpec, parse_spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("console", ObserverSpec("console")),
        ("json:-", ObserverSpec("json", ("-",))),
        ("json:file=/var/log/a.jsonl", ObserverSpec("json", (), {"file": "/var/log/a.jsonl"})),
        (r"json:file=/a\:b\=c\\d", ObserverSpec("json", (), {"file": r"/a:b=c\d"})),
        (
            "otel:endpoint=http://host:4318/v1?a=b:service=x",
            ObserverSpec("otel", (), {"endpoint": "http://host:4318/v1?a=b", "service": "x"}),
        ),
        (
            "exchange-log:url=az://logs/day:account_name=me:account_key=aGk==",
            ObserverSpec(
                "exchange-log", (), {"url": "az://logs/day", "account_name": "me", "account_key": "aGk=="}
            ),
        ),
        (r"x:a=http\://h\:1:b=2", ObserverSpec("x", (), {"a": "http://h:1", "b": "2"})),
        (r"x:a\=b", ObserverSpec("x", ("a=b",))),
        ("x:a=", ObserverSpec("x", (), {"a": ""})),
    ],
)
def test_spec_is_parsed(text, expected):
    """Names, positional values, pairs, escapes and bare URLs are understood."""
    assert parse_spec(text) == expected


@pytest.mark.parametrize("text", ["", ":a=b", "a b", "x:a=1:a=2", "x:a=b\\", "=x"])
def test_malformed_spec_is_refused(text):
    """A spec that says nothing clear is refused."""
    with pytest.raises(ValueError):
        parse_spec(text)


def test_values_stay_out_of_repr_and_errors():
    """A secret in a spec shows up neither in its repr nor in the error about it."""
    assert "hunter2" not in repr(parse_spec("x:account_key=hunter2"))
    with pytest.raises(ValueError) as caught:
        parse_spec("x:account_key=hunter2:account_key=hunter2")
    assert "hunter2" not in str(caught.value)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_escaped_values_come_back(kwargs):
    """Whatever a value holds, escaping it brings it through whole."""

    def escape(value):
        return value.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")

    text = ":".join(["name", *(f"{key}={escape(value)}" for key, value in kwargs.items())])
    assert parse_spec(text) == ObserverSpec("name", (), kwargs)
