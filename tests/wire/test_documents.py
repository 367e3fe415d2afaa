"""JSON from strangers."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.errors import InvalidJSON, MissingParameter
from openai_proxy.wire.documents import TOO_DEEP, maybe_object, parse_object, require, shallow_document


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"{}", {}),
        (b' {"a": 1, "a": 2} ', {"a": 2}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'{"a": 1e400}', {"a": float("inf")}),
    ],
)
def test_objects_that_openai_accepts(body, document):
    """What the strict parser refuses and the API takes is read all the same."""
    assert parse_object(body) == document


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{",
        b"{}x",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b"\xff",
    ],
)
def test_anything_else_is_invalid(body):
    """No object, no request."""
    with pytest.raises(InvalidJSON):
        parse_object(body)
    assert maybe_object(body) is None


def test_deep_nesting_is_read_at_its_top():
    """Ten thousand levels cost neither the process nor the members beside them."""
    body = b'{"model": "m", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b', "stream": true}'
    document = parse_object(body)
    assert (document["model"], document["stream"]) == ("m", True)


def test_endless_integers_are_read():
    """Five thousand digits are a number, not an exception."""
    assert "a" in parse_object(b'{"a": ' + b"9" * 5000 + b"}")


def test_first_missing_member_is_named():
    """The error says which parameter; null is a value."""
    require({"model": None, "messages": []}, ("model", "messages"))
    with pytest.raises(MissingParameter) as missing:
        require({"messages": []}, ("model", "messages"))
    assert missing.value.param == "model"


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(body):
    """Garbage is InvalidJSON."""
    document = maybe_object(body)
    assert document is None or isinstance(document, dict)


@given(
    st.dictionaries(st.text(max_size=5), st.recursive(st.integers(-9, 9) | st.text(), st.lists, max_leaves=5))
)
def test_documents_come_back(document):
    """What was written is what is read."""
    assert parse_object(orjson.dumps(document)) == document


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_opaque(opening):
    """Ten thousand levels of nesting neither crash nor hide the other members."""
    closing = "]" if opening == "[" else "}"
    deep = opening * 10_000 + ("1" if opening != "[" else "") + closing * 10_000
    body = f'{{"model":"m","x":{deep},"s":"\\ud800"}}'.encode()
    assert shallow_document(body) == {"model": "m", "x": TOO_DEEP, "s": "\ud800"}


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b'"x"', b"1", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1}x', b'{"a" 1}', b'{"a":1 "b":2}', b"{1:2}", b'{"a":nul}', b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"x', b'{"a":1]'],
)  # fmt: skip
def test_no_object_is_no_document(body):
    """What is not one JSON object has no document."""
    assert shallow_document(body) is None


@given(st.binary(max_size=20) | st.text('{}[]",:\\1 ', max_size=20).map(str.encode))
def test_garbage_read_member_by_member_never_crashes(body):
    """Whatever the bytes, there is a document or None."""
    document = shallow_document(body)
    assert document is None or isinstance(document, dict)
