"""Log probabilities of removed text go with it, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.think.filters import ThinkDocumentFilter, ThinkStreamFilter
from openai_proxy.policies.think.log_probabilities import TokenQueue, text_bytes
from openai_proxy.policies.think.splitter import ThinkRule, split_pieces

STRIP = ThinkRule("strip")
THOUGHTFUL = ["<think>", "SECRET", "</think>", "Answer"]


def chat_token(text, **more):
    return {"token": text, "logprob": -0.10, "bytes": list(text.encode()), "top_logprobs": [], **more}


def run(body_filter, *pieces):
    return b"".join([body_filter.feed(piece) for piece in pieces]) + body_filter.finish()


def document(body, rule=STRIP):
    return json.loads(run(ThinkDocumentFilter(rule), json.dumps(body).encode()))


TEXT = "".join(THOUGHTFUL)


def chat(tokens, text=TEXT, **more):
    logprobs = {"content": tokens, "refusal": None, **more}
    return {"choices": [{"index": 0, "message": {"content": text}, "logprobs": logprobs}]}


def test_tokens_of_thoughts_leave_a_chat():
    """The tokens whose text is shown stay, as they were written."""
    tokens = [chat_token(each) for each in THOUGHTFUL]
    found = document(chat(tokens))["choices"][0]
    assert found["message"]["content"] == "Answer"
    assert found["logprobs"] == {"content": tokens[-1:], "refusal": None}


def test_characters_of_several_tokens_are_aligned_by_their_bytes():
    """A character that two tokens share is compared by the bytes that they tell."""
    face = "😀".encode()
    halves = [
        {"token": "bytes:\\xf0\\x9f", "bytes": list(face[:2]), "logprob": -1},
        {"token": "bytes:\\x98\\x80", "bytes": list(face[2:]), "logprob": -1},
    ]
    tokens = [*[chat_token(each) for each in THOUGHTFUL], *halves]
    found = document(chat(tokens, "".join(THOUGHTFUL) + "😀"))["choices"][0]
    assert found["logprobs"]["content"] == [tokens[3], *halves]


@pytest.mark.parametrize(
    ("tokens", "more"),
    [
        ([chat_token("SECRET")], {}),
        ([chat_token(each) for each in THOUGHTFUL[1:]], {}),
        ([1, None], {}),
        ([{"token": each} for each in ("<think>", "SEC", "</think>Answer")], {}),
        ([chat_token(each) for each in THOUGHTFUL], {"refusal": [chat_token("SECRET")]}),
    ],
)
def test_what_cannot_be_aligned_goes(tokens, more):
    """Tokens that are not those of the text cannot be matched: the choice has none."""
    assert document(chat(tokens, **more))["choices"][0]["logprobs"] is None


def test_what_does_not_change_keeps_its_tokens():
    """Without thoughts nothing is looked at, however strange the tokens are."""
    body = json.dumps(chat([chat_token("x")], "plain <b>")).encode()
    assert run(ThinkDocumentFilter(STRIP), body) == body


def test_tokens_leave_the_lists_of_completions():
    """All four lists lose the same tokens, and the offsets count what is left."""
    logprobs = {
        "tokens": THOUGHTFUL,
        "token_logprobs": [-1, -2, -3, -4],
        "top_logprobs": [{each: -1} for each in THOUGHTFUL],
        "text_offset": [0, 7, 13, 21],
    }
    body = {"choices": [{"index": 0, "text": "".join(THOUGHTFUL), "logprobs": logprobs}]}
    assert document(body)["choices"][0] == {
        "index": 0,
        "text": "Answer",
        "logprobs": {
            "tokens": ["Answer"],
            "token_logprobs": [-4],
            "top_logprobs": [{"Answer": -1}],
            "text_offset": [0],
        },
    }


def test_tokens_leave_an_output_text():
    """The Responses API has them in the part itself; if they do not align it has none."""
    for tokens, left in (
        ([chat_token(each) for each in THOUGHTFUL], [chat_token("Answer")]),
        ([chat_token("SECRET")], []),
    ):
        part = {"type": "output_text", "text": "".join(THOUGHTFUL), "logprobs": tokens}
        found = document({"output": [{"type": "message", "content": [part]}]})
        assert found["output"][0]["content"][0]["logprobs"] == left


def stream_of(pieces, finish=True):
    events = [
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": "".join(piece)},
                    "logprobs": {"content": [chat_token(each) for each in piece]},
                }
            ]
        }
        for piece in pieces
    ]
    if finish:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}]})
    return (
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    )


def tokens_of(stream):
    events = [json.loads(each[6:]) for each in stream.decode().split("\n\n") if each and "[DONE]" not in each]
    choices = [event["choices"][0] for event in events]
    tokens = [
        each["token"] for choice in choices for each in (choice.get("logprobs") or {}).get("content") or ()
    ]
    return tokens, "".join(choice["delta"].get("content") or "" for choice in choices)


@given(
    st.lists(
        st.lists(
            st.sampled_from(["<think>", "</think>", "<", "thi", "nk>", "/think>", "a", " é", "b<", "></"]),
            max_size=3,
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_tokens_of_a_stream_are_those_of_its_text(pieces, finish):
    """However tags are cut into tokens and events, the tokens that stay are those that are all shown."""
    tokens = [token for piece in pieces for token in piece]
    split = split_pieces("".join(tokens), STRIP)
    shown = [kind == 0 for kind, text in split for _ in text]
    wanted, at = [], 0
    for token in tokens:
        wanted += [token] if all(shown[at : at + len(token)]) else []
        at += len(token)
    found, text = tokens_of(run(ThinkStreamFilter(STRIP), stream_of(pieces, finish)))
    assert text == "".join(each for kind, each in split if kind == 0)
    assert found == wanted


def test_a_stream_that_does_not_align_loses_the_tokens_of_what_changes():
    """Tokens that say something else than their event's text do not pass with a thought."""
    stream = stream_of([["<think>SECRET"], ["SECRET</think>Answer"], ["!"]])
    stream = stream.replace(b'"token": "<think>SECRET"', b'"token": "x"').replace(b'"bytes": [', b'"b": [')
    out = run(ThinkStreamFilter(STRIP), stream)
    assert b"SECRET" not in out
    assert tokens_of(out) == (["!"], "Answer!")


def test_a_queue_holds_no_more_than_the_splitter():
    """What is decided is not kept."""
    queue = TokenQueue()
    for text in "abc":
        queue.push(len(text_bytes(text)), (text.encode(),))
    assert queue.take([(0, "ab")]) == [(b"a",), (b"b",)]
    assert queue.take([(1, "c")]) == []
    assert not queue._waiting
