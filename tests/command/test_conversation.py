"""What a person reads of one line of the exchange log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.command.conversation import answered, asked, conversation, printable, texts

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


@pytest.mark.parametrize(
    ("body", "turns"),
    [
        (
            {
                "model": "m",
                "tools": [{"type": "function", "function": {"name": "weather"}}, {"type": "web_search"}],
                "messages": [
                    {"role": "system", "content": "Be short."},
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "input_audio"}]},
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
                ],
            },
            [
                ("tools", "weather, web_search"),
                ("system", "Be short."),
                ("user", "Hi\n(input_audio)"),
                ("assistant calls weather call_1", '{"city":"Oslo"}'),
                ("tool call_1", "rain"),
            ],
        ),
        ({"instructions": "Be short.", "input": "Hi"}, [("system", "Be short."), ("user", "Hi")]),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "https://h/x.png"}]},
                    {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "7"},
                    {"type": "item_reference", "id": "i"},
                ]
            },
            [
                ("user", "(input_image: https://h/x.png)"),
                ("assistant calls f c", "{}"),
                ("tool c", "7"),
                ("item_reference", '{\n  "type": "item_reference",\n  "id": "i"\n}'),
            ],
        ),
        ({"prompt": "Once"}, [("user", "Once")]),
        ({"input": ["a", "b"], "model": "e"}, [("user", "a"), ("user", "b")]),
        (None, [("request", "(not recorded)")]),
        ({"bytes": 12, "sha256": "x"}, [("request", "(12 bytes, not recorded)")]),
        ({"other": 1}, [("request", '{\n  "other": 1\n}')]),
    ],
)
def test_what_was_asked(body, turns):
    """Every turn once, by its role; other bodies as they are."""
    assert list(asked(body)) == turns


@pytest.mark.parametrize(
    ("body", "turns"),
    [
        (
            {"choices": [{"message": {"role": "assistant", "content": "42", "reasoning_content": "Hm."}}]},
            [("assistant thinks", "Hm."), ("assistant", "42")],
        ),
        (
            {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}]},
            [("assistant calls weather call_1", '{"city":"Oslo"}')],
        ),
        ({"choices": [{"text": "upon a time"}]}, [("assistant", "upon a time")]),
        (
            {
                "output": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "42"}],
                    },
                ]
            },
            [("assistant thinks", "Hm."), ("assistant", "42")],
        ),
        ({"error": {"message": "no"}}, [("error", "no")]),
        ({"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}, [("response", "2 embeddings")]),
        ({"data": [{"id": "m"}]}, [("response", '{\n  "data": [\n    {\n      "id": "m"\n    }\n  ]\n}')]),
        ("aGk=", [("response", "aGk=")]),
    ],
)
def test_what_was_answered(body, turns):
    """The answer's texts, thoughts and calls."""
    assert list(answered(body)) == turns


def test_a_conversation_has_a_head_and_paragraphs():
    """When, what, how it ended and what it cost, then one turn after the other."""
    record = {
        "timestamp": "2026-11-30T18:07:42.982Z",
        "request": {
            "method": "POST",
            "path": "/v1/chat/completions",
            "body": {"messages": [{"content": "Hi"}]},
        },
        "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "a\nb"}}]}},
        "id": "proxy-1",
        "key": "alice",
        "model": "m",
        "outcome": "complete",
        "duration_s": 0.5,
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "cost_usd": 0.25,
    }
    assert conversation(record) == (
        "2026-11-30T18:07:42.982Z POST /v1/chat/completions 200 complete\n"
        "key alice, model m, 1 tokens in, 2 out, $0.250000, 0.5 s, id proxy-1\n\n"
        "[user]\nHi\n\n[assistant]\na\nb\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\tb", "a\n\tb"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\rb", "a\\rb"),
        ("\u202etxt", "\\u202etxt"),
        ("\ud800", "\\ud800"),
        ("Zoë 🙂", "Zoë 🙂"),
    ],
)
def test_a_terminal_obeys_nothing_of_it(text, shown):
    """A model's answer must not colour, clear or rename the terminal of who reads it."""
    assert printable(text) == shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "input",
                    "output",
                    "choices",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "text",
                    "type",
                    "data",
                    "error",
                    "role",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_record_breaks_it(request, response):
    """A stranger's request may be anything that is JSON."""
    shown = conversation({"request": {"body": request}, "response": {"body": response}})
    assert "\x1b" not in shown
    assert shown.endswith("\n")


@given(JSON)
def test_texts_are_all_strings_but_the_names(value):
    """What --grep looks into."""
    found = sorted(texts(value))
    kept = []

    def walk(each):
        if isinstance(each, str):
            kept.append(each)
        elif isinstance(each, dict | list):
            for inner in each.values() if isinstance(each, dict) else each:
                walk(inner)

    walk(value)
    assert found == sorted(kept)
