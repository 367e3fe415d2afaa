"""What Python's json.loads(bytes) reads is read, and an outline of it is kept."""

import codecs
import gc
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.errors import InvalidJSON
from openai_proxy.wire.request_json import (
    DEEPEST,
    MOST_CONTAINERS,
    MOST_MEMBERS,
    MOST_VALUES,
    OMITTED,
    NestedTooDeep,
    TooManyMembers,
    TooManyValues,
    begins_like_object,
    models_named,
    outline,
    read_request,
)

TEXT = '{"model":"m","kéy":"\U0001f600"}'
ENCODED = [
    TEXT.encode(),
    codecs.BOM_UTF8 + TEXT.encode(),
    *[TEXT.encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")],
]


@pytest.mark.parametrize("body", ENCODED)
def test_any_encoding_of_unicode_is_read(body):
    """The text is the same in UTF-8, so that settings may change it."""
    read = read_request(body)
    assert read.document == json.loads(body)
    assert read.text == TEXT.encode()
    assert read.ordinary is (body == TEXT.encode())
    assert begins_like_object(body[:64])


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":NaN,"y":-Infinity}',
        b'{"x":"\\ud800"}',
        b'{"x":1e999}',
        b'{"x":' + b"1" * 3999 + b"}",
        b' {"x":1}\n',
        b'{"x":{"x":{}}}',
    ],
)
def test_what_python_reads_is_read(body):
    """The bytes stay as they came."""
    read = read_request(body)
    expected = json.loads(body)
    assert list(read.document) == list(expected)
    for name, value in expected.items():
        same = read.document[name] == value
        assert same or math.isnan(value)
    assert read.text is body


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"1", b"null", b"\xff\xfe\xfd{}", b"{'a':1}", b'{"a":1}x', b"\x80{}", b'{"a":\x01}'],
)
def test_what_is_no_object_is_refused(body):
    """Whatever else it may be."""
    with pytest.raises(InvalidJSON):
        read_request(body)


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("beside", [b"1", b"NaN"])
def test_nesting_is_bounded(opened, closed, beside):
    """Level 512 is read, level 513 is not, and a tower of thousands is refused at once."""

    def nested(levels):
        inner = opened * levels + (b"1" if closed == b"}" else b"") + closed * levels
        return b'{"b":%b,"a":%b}' % (beside, inner)

    assert read_request(nested(DEEPEST - 1)).document
    for levels in (DEEPEST, 900, 5000, 1_000_000):
        with pytest.raises(NestedTooDeep):
            read_request(nested(levels))


def test_brackets_that_nest_nothing_are_no_depth():
    """Neither those in strings nor those beside each other."""
    body = b'{"a":"' + b"[{" * 2000 + b'","b":[' + b"[],{}," * 2000 + b"1]}"
    assert len(read_request(body).document["b"]) == 4001


def test_members_are_bounded():
    """Each would take a hundred bytes as long as the exchange lasts."""

    def members(count):
        return b"{" + b",".join(b'"%d":1' % number for number in range(count)) + b"}"

    assert len(read_request(members(MOST_MEMBERS)).document) == MOST_MEMBERS
    with pytest.raises(TooManyMembers):
        read_request(members(MOST_MEMBERS + 1))


def test_an_outline_has_no_large_values():
    """What decides stays: names, numbers, flags, short texts, the options of a stream."""
    long = "x" * 5000
    kept, odd = outline(
        {
            "model": long,
            "stream": True,
            "messages": [{"role": "user"}],
            "input": long,
            "user": "u",
            "stop": [],
            "metadata": {"a": 1},
            "stream_options": {"include_usage": False, "deep": [1]},
        }
    )
    assert kept == {
        "model": long,
        "stream": True,
        "messages": OMITTED,
        "input": OMITTED,
        "user": "u",
        "stop": [],
        "metadata": OMITTED,
        "stream_options": {"include_usage": False, "deep": OMITTED},
    }
    assert not odd


@pytest.mark.parametrize("name", ["Model", "MODEL", "modeL"])
def test_names_count_in_any_spelling(name):
    """Servers written in Go ignore case, and take the last of two."""
    kept, odd = outline({"model": "a", name: "b"})
    assert (kept["model"], odd) == ("b", True)
    assert models_named({"model": "a", name: "b"}) == ["a", "b"]


def test_letters_that_fold_to_others_count_too():
    """Go's encoding/json takes the long s for s and the Kelvin sign for k."""
    kept, odd = outline({"\u017ftream": True, "max_to\u212aens": 5})
    assert (kept["stream"], kept["max_tokens"], odd) == (True, 5, True)


@pytest.mark.parametrize(
    ("beginning", "may_be"),
    [
        (b"", True),
        (b" \n{", True),
        (b"\0\0\0{", True),
        (b"{\0", True),
        (b"--boundary", False),
        (b"v=0", False),
        (b"[", False),
    ],
)
def test_an_object_is_known_by_its_first_byte(beginning, may_be):
    """Uploads without a type stream through; JSON without one is read."""
    assert begins_like_object(beginning) is may_be


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body):
    """Nothing else is raised, and what is read is what Python reads."""
    try:
        document = read_request(body).document
    except InvalidJSON:
        return
    assert repr(document) == repr(json.loads(body))


@pytest.mark.parametrize(
    ("unit", "encoding"),
    [
        (b"[],", "utf-8"),
        (b"[],", "utf-16"),
        (b"{},", "utf-8"),
        (b'[""],', "utf-8"),
        (b'["\\"",[]],', "utf-8"),
        (b'{"\\\\":[]},', "utf-8"),
        (b'["","[",[]],', "utf-8"),
    ],
)
def test_absurd_numbers_of_containers_are_refused(unit, encoding):
    """A small body would take hundreds of MiB of memory once it is decoded."""
    body = b'{"a":[' + unit * (MOST_CONTAINERS + 1) + b"1]}"
    with pytest.raises(TooManyValues):
        read_request(body.decode().encode(encoding))


@pytest.mark.parametrize("unit", [b"1,", b'"",', b"null,", b'"\\",",'])
def test_absurd_numbers_of_values_are_refused(unit):
    """Short texts and numbers take more memory than bytes too."""
    with pytest.raises(TooManyValues):
        read_request(b'{"a":[' + unit * (MOST_VALUES + 1) + b"1]}")


@pytest.mark.parametrize("unit", [b"[{,", b'\\"[,', b"\\\\[,", b'\\\\\\"{,'])
def test_what_stands_in_strings_is_not_counted(unit):
    """A prompt may hold a large file of somebody's data."""
    text = unit * (MOST_VALUES + 1)
    read = read_request(b'{"x":["","a,b","","' + text + b'"],"y":"' + unit * 99 + b'"}')
    assert read.document["x"][3].count(",") == MOST_VALUES + 1


def test_the_collector_is_as_it_was():
    """It rests while a large body is decoded, also if that fails."""
    assert gc.isenabled()
    read_request(b'{"a":[' + b"[]," * 30_000 + b"1]}")
    with pytest.raises(InvalidJSON):
        read_request(b'{"a":[' + b"[]," * 30_000)
    assert gc.isenabled()


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'["[",[', b'["\\\\",{"\\"[":'])
def test_millions_of_levels_are_refused_by_their_beginning(unit):
    """Before the rest is looked at, which takes a second for each 100 MiB."""
    with pytest.raises(NestedTooDeep):
        read_request(b'{"a":' + unit * (MOST_CONTAINERS + 1))
