"""What a list of models is made of, entry by entry."""

import json

import pytest

from openai_proxy.wire.model_list import changed_list

LIST = b'{"object": "list", "data": [ {"id":"a", "x": 1.50}, {"id":"b"} ], "more": null}'


def ids(body):
    return [item["id"] for item in json.loads(body)["data"]]


@pytest.mark.parametrize(
    ("allowed", "others", "aliases", "expected"),
    [
        ("ab", [], [], ["a", "b"]),
        ("a", [], [], ["a"]),
        ("", [], [], []),
        ("ac", [b'{"data":[{"id":"c"},{"id":"a"},{"id":"d"}]}'], [], ["a", "c"]),
        ("abc", [b"nonsense", b"", b'{"data":[{"id":"c"}]}'], ["a", "fast"], ["a", "b", "c"]),
        (None, [b'{"data":[{"id":"c"}]}'], ["fast"], ["a", "b", "c", "fast"]),
    ],
)
def test_a_list_holds_what_may_be_used_of_all_upstreams(allowed, others, aliases, expected):
    """Each id once, and what is not allowed nowhere."""
    allows = None if allowed is None else lambda name: name in tuple(allowed)
    assert ids(changed_list(LIST, others, aliases, allows)) == expected


def test_entries_and_the_rest_stay_as_they_are():
    """Byte for byte; a list that need not change is the very same."""
    assert changed_list(LIST, allows=lambda name: True) is LIST
    changed = changed_list(LIST, allows=lambda name: name == "a")
    assert changed == b'{"object": "list", "data": [{"id":"a", "x": 1.50}], "more": null}'


SHAPES = {
    "bare": b'[ {"id": "a"}, {"id": "b", "x": 1} ]\n',
    "both": b'{"models": [{"name": "a"}, {"name": "b"}], "object": "list", "data": [{"id": "a"}, {"id": "b"}]}',
    "models": b' {"models": [{"name": "a:1"}, {"model": "b"}]}',
    "texts": b'{"data": ["a", "b"]}',
    "odd": b'{"data": [{"id": "a"}, {"x": "b"}, 5, null]}',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_lists_of_other_shapes_show_what_is_allowed_and_nothing_else(shape):
    """Together sends nothing but the list, Ollama `models`, llama.cpp both: a restricted key saw all of it."""
    body = SHAPES[shape]
    shown = changed_list(body, aliases=["c", "d"], allows=lambda name: name[0] in "ac")
    assert b'"b"' not in shown
    assert b'"a' in shown
    assert b'"c"' in shown
    assert b'"d"' not in shown
    assert type(json.loads(shown)) is type(json.loads(body))


def test_a_bare_list_is_a_list_of_models():
    """With those of other upstreams, and in theirs."""
    bare = SHAPES["bare"]
    merged = changed_list(bare, [LIST, b'{"data":[{"id":"c"}]}'], ["d"])
    assert [item["id"] for item in json.loads(merged)] == ["a", "b", "c", "d"]
    assert ids(changed_list(b'{"data":[{"id":"z"}]}', [bare])) == ["z", "a", "b"]
    assert changed_list(bare) is bare


def test_the_list_for_codex_is_filtered_and_nothing_is_added():
    """Codex wants entries with members that nobody knows for an alias, and would drop the whole list."""
    body = b'{"models": [{"slug": "a", "display_name": "A"}, {"slug": "b", "display_name": "B"}]}'
    assert changed_list(body, [LIST], aliases=["c"]) == body
    shown = changed_list(body, [LIST], aliases=["c"], allows=lambda name: name in "ac")
    assert json.loads(shown) == {"models": [{"slug": "a", "display_name": "A"}]}
    assert changed_list(LIST, [body]) is LIST


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"5", b'{"data":null}', b'{"models":{}}', b'{"error":"b"}']
)
def test_what_is_no_list_is_an_empty_one_for_a_restricted_key(body):
    """It might show anything; for everybody else it passes."""
    assert ids(changed_list(body, aliases=["a", "b"], allows=lambda name: name == "a")) == ["a"]
    assert changed_list(body, aliases=["a"]) is body
