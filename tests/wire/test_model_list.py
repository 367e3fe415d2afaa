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
