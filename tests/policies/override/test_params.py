"""The text of LLM_PARAMS and its tables become typed parameters."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.override.endpoint_params import change_for
from openai_proxy.policies.override.params import ModelParams, from_table, from_text, parse_llm_params


def test_the_documented_example():
    """Groups, entries and types are as the documentation shows them."""
    found = parse_llm_params("model=A,temperature=0.5,top_k=40;model=B,max_tokens=200")
    assert found == {"A": {"temperature": 0.5, "top_k": 40}, "B": {"max_tokens": 200}}


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("temperature=1", 1.0),
        ("top_p=.5", 0.5),
        ("presence_penalty=-1e-1", -0.1),
        ("seed=-7", -7),
        ("echo=true", True),
        ("stream=False", False),
        ("temperature=", None),
        ("stop=null", None),
        ("stop=END", "END"),
        ("stop=a=b", "a=b"),
        ("x=1", 1),
        ("x=1.50", 1.5),
        ("x=-2e3", -2000.0),
        ("x=true", True),
        ("x=007", "007"),
        ("x=1_000", "1_000"),
        ("x=1e999", "1e999"),
        ("x=nan", "nan"),
        (" x = some text ", "some text"),
        ("x=[1]", "[1]"),
    ],
)
def test_types(entry, value):
    """Known parameters have their type; others are what they read as."""
    (found,) = parse_llm_params(f"model=m,{entry}")["m"].values()
    assert (type(value), value) == (type(found), found)


@pytest.mark.parametrize(
    "entry",
    [
        "temperature=hot",
        "temperature=nan",
        "temperature=1e999",
        "top_k=40.0",
        "top_k=4_0",
        "max_tokens=many",
        "echo=1",
        "stream=yes",
        "novalue",
        "",
        "=5",
        "model=B",
    ],
)
def test_malformed_entries_are_refused(entry):
    """An entry that does not fit stops the start, and the message shows only that entry."""
    with pytest.raises(ValueError) as caught:
        parse_llm_params(f"model=secret-model,{entry}")
    message = str(caught.value)
    assert message.startswith(f"{entry!r}: ")
    assert "secret-model" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text", ["temperature=1", "temperature=1,model=A", "model=", "model=A;x=1", ",model=A"]
)
def test_groups_begin_with_a_model(text):
    """A group without a model first is refused."""
    with pytest.raises(ValueError):
        parse_llm_params(text)


def test_empty_groups_and_repeated_models():
    """A trailing semicolon means nothing; groups of one model add up and the later value wins."""
    assert parse_llm_params(" ;model=A,n=1,x=y; ;model=A,n=2;") == {"A": {"n": 2, "x": "y"}}
    assert parse_llm_params("") == {}


names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name != "model")
models = st.from_regex(r"[A-Za-z0-9/:.*-]{1,12}", fullmatch=True)


@given(st.dictionaries(models, st.dictionaries(names, st.integers() | st.booleans() | st.none(), max_size=3)))
def test_round_trip(wanted):
    """What is written out is read back, value and type."""
    names = {"n", "seed", "echo", "stream"}
    wanted = {
        m: {k + "_": v for k, v in params.items() if k + "_" not in names} for m, params in wanted.items()
    }
    text = ";".join(
        ",".join([f"model={m}", *(f"{k}={'null' if v is None else str(v).lower()}" for k, v in p.items())])
        for m, p in wanted.items()
    )
    assert parse_llm_params(text) == wanted


def test_tables_take_any_json_and_globs():
    """A table's values may be nested; its match is a case-sensitive glob."""
    rule = from_table("llama-*", {"options": {"a": [1, None]}}, {"temperature": 1})
    assert rule.applies_to("llama-3")
    assert not rule.applies_to("Llama-3")


@pytest.mark.parametrize(
    "params",
    [
        {"when": datetime.date(2026, 1, 1)},
        {"x": float("nan")},
        {"temperature": "0.5"},
        {"temperature": True},
        {"top_k": 1.5},
        {"top_k": "1"},
        {"stream": 1},
        {"n": [1]},
    ],
)
def test_tables_are_checked(params):
    """A value that is no JSON or does not fit its parameter is refused."""
    with pytest.raises(ValueError):
        from_table("*", params)
    with pytest.raises(ValueError):
        from_table("*", None, params)


def test_flat_names_are_exact():
    """A model name with glob characters means itself in the flat notation."""
    (rule,) = from_text("model=a*[1],n=1")
    assert rule.applies_to("a*[1]")
    assert not rule.applies_to("ab1")


def test_later_rules_win():
    """All rules of a model apply, in order."""
    rules = (from_table("*", {"a": 1, "b": 1}, {"c": 1}), ModelParams("m", {"b": 2}))
    change = change_for(rules, "m", "chat/completions")
    assert (change.params, change.defaults) == ({"a": 1, "b": 2}, {"c": 1})
    assert change_for(rules[1:], "x", "chat/completions").is_empty
