"""Which requests share an answer: exactly those that ask for the same."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.cache.key import cache_key, canonical_json, models_family, varies_on_unkeyed

SAME = {
    "tenant": "t",
    "origin": b"https://api.example/v1",
    "credential": b"sk-up",
    "method": b"POST",
    "target": b"/embeddings",
    "headers": [],
    "body": b"{}",
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value, random):
    """The same JSON value with its members in another order."""
    if isinstance(value, dict):
        names = list(value)
        random.shuffle(names)
        return {name: shuffled(value[name], random) for name in names}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


def spelled(value):
    """A text that two values share exactly if they are equal, with 1, 1.0 and true different."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


@given(values, st.randoms(use_true_random=False), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_order_and_spacing_do_not_matter(value, random, escaped, indent):
    """Two SDKs that write the same request differently share its answer."""
    one = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    value = json.loads(one)
    other = json.dumps(shuffled(value, random), indent=indent, ensure_ascii=escaped).encode()
    assert canonical_json(one) == canonical_json(other)


@given(values, values)
def test_equal_exactly_where_the_values_are(one, other):
    """A different value anywhere is a different request, and only that is."""
    texts = [json.dumps(value).encode() for value in (one, other)]
    assert (canonical_json(texts[0]) == canonical_json(texts[1])) == (spelled(one) == spelled(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":0}', b'{"a":-0}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":18446744073709551616}', b'{"a":18446744073709551617}'),
        (b'{"a":1e400}', b'{"a":1e500}'),
        (b'{"a":0.1}', b'{"a":0.10000000000000001}'),
        (b'{"a":1,"a":2}', b'{"a":2,"a":1}'),
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b'{"a":NaN}', b'{"a":"NaN"}'),
        (b'{"a":"\\ud800"}', b'{"a":"\\ud801"}'),
        (b'{"a":"\\ud800"}', b'{"a":"\\\\ud800"}'),
        (b"[[1],2]", b"[[1,2]]"),
        (b'{"a":[]}', b'{"a":{}}'),
        (b'{"a":[["b",1]]}', b'{"a":{"b":1}}'),
        (b"{", b"{ "),
        (b"\xff", b"\xfe"),
        (b"", b"null"),
        (b"[" * 100_000, b"[" * 100_001),
        (b'{"a":' + b"1" * 5000 + b"}", b'{"a":' + b"1" * 5001 + b"}"),
    ],
    ids=range(21),
)
def test_different_texts_differ(one, other):
    """Numbers count as written, and what no decoder agrees upon counts byte for byte."""
    assert canonical_json(one) != canonical_json(other)


@given(st.binary())
def test_any_bytes_have_a_form(body):
    """No body that a stranger sends stops the cache."""
    assert canonical_json(body) == canonical_json(bytes(body))


def test_equal_requests_have_equal_keys():
    """The key is stable: another daemon with the same configuration finds the entry."""
    assert cache_key(**SAME).hex() == "1641bcd76b3ffde03bcdc05fd586e650c1bf727bbbc08c5c861503af7bc4682c"


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "u"},
        {"origin": b"https://other.example/v1"},
        {"credential": b"sk-uq"},
        {"method": b"GET"},
        {"target": b"/embeddings?a=1"},
        {"body": b'{"a":1}'},
        *(
            {"headers": [(name, b"x")]}
            for name in (b"OpenAI-Organization", b"openai-project", b"OpenAI-Beta", b"Accept-Encoding")
        ),
        {"headers": [(b"content-encoding", b"gzip")]},
        {"headers": [(b"OpenAI-Beta", b"")]},
    ],
    ids=repr,
)
def test_each_part_separates(change):
    """Tenant, upstream, key, path, query, scoping headers, coding and body each make another entry."""
    assert cache_key(**SAME) != cache_key(**{**SAME, **change})


def test_other_headers_do_not_separate():
    """An SDK's telemetry or a header's case does not cost the hit."""
    one = {**SAME, "headers": [(b"OpenAI-Beta", b"x"), (b"X-Stainless-Retry-Count", b"0")]}
    other = {**SAME, "headers": [(b"user-agent", b"me"), (b"openai-beta", b" x ")]}
    assert cache_key(**one) == cache_key(**other)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "tenant": st.sampled_from(["", "a", "ab", "1:"]),
                "origin": st.sampled_from([b"", b"b", b"a"]),
                "credential": st.sampled_from([b"", b"k"]),
                "target": st.sampled_from([b"", b"/", b"/1:"]),
                "body": st.sampled_from([b"", b"a", b"{}"]),
                "headers": st.lists(
                    st.tuples(st.sampled_from([b"openai-a", b"openai-b"]), st.sampled_from([b"", b"1"])),
                    max_size=2,
                ),
            }
        ),
        max_size=30,
    )
)
def test_parts_never_run_into_each_other(requests):
    """No two different requests have one key, however their parts are cut."""

    def identity(parts):
        by_name = sorted(parts["headers"], key=lambda pair: pair[0])
        return repr(
            (parts["tenant"], parts["origin"], parts["credential"], parts["target"], parts["body"], by_name)
        )

    names = Counter(identity(parts) for parts in requests)
    keys = Counter(cache_key(method=b"POST", **parts) for parts in requests)
    assert sorted(names.values()) == sorted(keys.values())


@pytest.mark.parametrize(
    ("vary", "unkeyed"),
    [
        (b"Accept-Encoding, Origin", False),
        (b"", False),
        (b"authorization,OpenAI-Organization", False),
        (b"*", True),
        (b"Accept-Encoding, Accept-Language", True),
    ],
)
def test_vary_beyond_the_key_is_noticed(vary, unkeyed):
    """An answer that depends on a header outside the key is nobody else's."""
    assert varies_on_unkeyed(vary) is unkeyed


def test_each_caller_has_models_of_its_own():
    """Who deletes a model forgets nothing of another tenant, upstream or key; no entry has that name."""
    callers = [("t", b"o", b"k"), ("u", b"o", b"k"), ("t", b"p", b"k"), ("t", b"o", b"l"), ("", b"to", b"k")]
    names = {models_family(*caller) for caller in callers}
    assert (len(names), models_family("t", b"o", b"k") in names) == (5, True)
    assert models_family(SAME["tenant"], SAME["origin"], SAME["credential"]) != cache_key(**SAME)
