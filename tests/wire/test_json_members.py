"""Members of JSON objects are found and changed without touching the rest."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taken import Taken

from openai_proxy.wire.json_edits import (
    _quick_edits,
    append_members,
    rendered_members,
    replace_members,
    replace_nested,
)
from openai_proxy.wire.json_members import find_only_member, iter_members, locate

texts = st.text(st.characters(exclude_categories=()), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)
styles = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"separators": (" , ", "\t:\r\n")}])


@given(objects, styles)
def test_members_are_those_of_the_decoder(document, style):
    """Every member is found with the value that a JSON decoder reads there."""
    body = b" \n" + json.dumps(document, **style).encode() + b"\r\n"
    found = [(key, json.loads(body[start:end])) for key, (start, end) in iter_members(body, 2)]
    assert found == list(document.items())


@given(
    objects, st.dictionaries(texts.filter(str.isascii), values, min_size=1, max_size=3), styles, st.booleans()
)
def test_replaced_members_are_seen_and_the_rest_stays(document, changes, style, has_document):
    """A changed body reads as the old one updated with the changes."""
    body = json.dumps(document, **style).encode()
    encoded = {name: json.dumps(value).encode() for name, value in changes.items()}
    new = replace_members(body, encoded, document if has_document else None)
    assert json.loads(new) == {**document, **changes}
    assert list(json.loads(new)) == list({**document, **changes})


def test_untouched_bytes_stay():
    """Spacing, number forms, escapes and unknown members are the client's own."""
    body = b'{ "model" :"A", "x":1.0e0,\t"s":"\\u003c\\/" , "temperature" : 2 }'
    assert replace_members(body, {"temperature": b"0.5", "top_k": b"40"}) == (
        b'{ "model" :"A", "x":1.0e0,\t"s":"\\u003c\\/" , "temperature" : 0.5,"top_k":40 }'
    )


def test_every_duplicate_gets_the_value():
    """No decoder, whichever duplicate it takes, sees the client's value; escaped keys count."""
    body = b'{"n":1,"\\u006e":2,"m":{"n":3},"n":4}'
    assert replace_members(body, {"n": b"9"}) == b'{"n":9,"\\u006e":9,"m":{"n":3},"n":9}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", b'{"n":1}'),
        (b" { } ", b' {"n":1 } '),
        (b'{"a":{}} ', b'{"a":{},"n":1} '),
    ],
)
def test_missing_members_are_appended(body, expected):
    """A member that is not there is added at the end."""
    assert replace_members(body, {"n": b"1"}) == expected


@given(
    objects,
    st.dictionaries(texts, values, min_size=1, max_size=3),
    styles,
    st.sampled_from(["", " ", "\r\n"]),
)
def test_rendered_members_go_where_missing_ones_go(document, changes, style, around):
    """What is known to be missing is put in its place without a look at the body, to the same bytes."""
    missing = {name: json.dumps(value).encode() for name, value in changes.items() if name not in document}
    body = (around + json.dumps(document, **style) + around).encode()
    body = body.replace(b"{}", b"{" + around.encode() + b"}") if body.strip() == b"{}" else body
    if missing:
        assert append_members(body, rendered_members(missing)) == replace_members(body, missing)


def test_appended_without_a_scan():
    """Known not to be there, a member is appended before the last brace."""
    assert replace_members(b'{"a":{} }\n', {"n": b"1"}, {"a": {}}) == b'{"a":{},"n":1 }\n'
    assert replace_members(b"{ }", {"n": b"1"}, {}) == b'{"n":1 }'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1}', b'{"a":1,"o":{"u":true}}'),
        (b'{"o":null}', b'{"o":{"u":true}}'),
        (b'{"o": {"u" : false, "k":0.0}, "a":1}', b'{"o": {"u" : true, "k":0.0}, "a":1}'),
        (b'{"o":{"k":1}}', b'{"o":{"k":1,"u":true}}'),
    ],
)
def test_nested_member(body, expected):
    """A member one level down is set and its neighbours survive."""
    assert replace_nested(body, "o", {"u": b"true"}) == expected


def test_nested_in_no_object_is_refused():
    """What is no object cannot get a member."""
    with pytest.raises(ValueError):
        replace_nested(b'{"o":"text"}', "o", {"u": b"true"})


def test_locate_walks_keys_and_indexes():
    """A path leads to its value; of duplicates the last counts."""
    body = b' {"c":[],"c":[{"d":1},{"d": [2, "\\"]"]}]}'
    start, end = locate(body, ("c", 1, "d", 1))
    assert body[start:end] == b'"\\"]"'
    with pytest.raises(LookupError):
        locate(body, ("c", 2))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_members_beside_deep_nesting_are_replaced(opening):
    """Ten thousand levels of nesting cost no stack."""
    closing = "]" if opening == "[" else "}"
    deep = opening * 10_000 + ("1" if opening != "[" else "") + closing * 10_000
    body = f'{{"model":"m","x":{deep}}}'.encode()
    assert replace_members(body, {"model": b'"n"'}) == body.replace(b'"m"', b'"n"')


@given(st.binary(max_size=20) | st.text('{}[]",:\\1 ', max_size=20).map(str.encode))
def test_garbage_never_crashes(body):
    """Whatever the bytes, there is a new body or a ValueError."""
    try:
        replace_members(body, {"a": b"1"})
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":[{"name" : "x\\u003c"}],"b":"\\"name\\":"}', b'"x\\u003c"'),
        (b'{"name":1,"a":{"name":2}}', None),
        (b'{"name":1,"a":"name"}', None),
        (b'{"name":1,"n\\u0061me":2}', None),
        (b'{"a":1}', None),
    ],
)
def test_the_only_member_of_a_name(body, value):
    """A member found by a byte search is the only one of its name, at any depth."""
    span = find_only_member(body, "name")
    assert value == (body[slice(*span)] if span else None)


NAMES = ("model", "stream", "s")
FILLERS = [{"x": 1}, {"x": {"y": 2}}, "text", "a {model} b", ["m", {"z": None}], 1.5, None, "\\", '"', {}, []]
TWISTS = [  # what a byte search must not be taken in by
    (b'"x"', b'"model"'),
    (b'"text"', b'"model"'),
    (b"{model}", b'\\"model\\"'),
    (b'"b"', b'"\\u006dodel"'),
    (b'"model"', b'"mode\\u006c"'),
    (b'"b"', b'"model"'),
    (b'"y"', b'"stream"'),
]
HARMLESS = [(b":", b" : "), (b"}", b" } "), (b"1.5", b'"}"'), (b"", b"")]


def test_edits_by_a_byte_search_are_those_of_a_walk():
    """Names that come twice, within strings, escaped or in nested objects are left to the walk."""
    members = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(FILLERS))
    others = st.dictionaries(st.sampled_from(["a", "b", "messages"]), st.sampled_from(FILLERS))
    changes = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([b"1", b'"new"', b"{}"]), min_size=1)
    twists = st.sampled_from([*TWISTS, *HARMLESS * 2])
    with Taken() as note:

        @settings(max_examples=max(500, settings().max_examples))
        @given(members, others, changes, twists, styles, st.sampled_from([b"", b" ", b"\n"]))
        def check(named, rest, changed, twist, style, around):
            body = around + json.dumps({**named, **rest}, **style).encode() + around
            if twist[0]:
                body = body.replace(*twist)
            document = json.loads(body)
            note(_quick_edits(body, changed, document) is not None)
            assert replace_members(body, changed, document) == replace_members(body, changed)

        check()
