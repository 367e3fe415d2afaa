"""Streams are put together as the plain call would have answered."""

import pytest
from fakes import chat_chunk as chunk
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.observe.exchange_log.assembly.assemble import assemble


def test_chat_text_and_usage():
    """Text, finish reason and usage stand where the plain answer has them."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    events = [
        chunk({"role": "assistant", "content": ""}, usage=None),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": usage,
        },
    ]
    assert assemble(events) == {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": usage,
    }


def test_tool_calls_in_pieces():
    """Arguments that arrive in pieces of several calls are whole."""

    def call(index, **fields):
        return chunk({"tool_calls": [{"index": index, **fields}]})

    events = [
        call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
        call(1, id="b", type="function", function={"name": "g", "arguments": "{"}),
        call(0, function={"arguments": '{"x"'}),
        call(1, function={"arguments": "}"}),
        call(0, function={"arguments": ":1}"}),
    ]
    message = assemble(events)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


A = {"id": "a", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}
B = {"id": "b", "type": "function", "function": {"name": "read", "arguments": '{"path":"b"}'}}


def halves(call, index, **repeated):
    """Give a call in two pieces, as it is streamed."""
    function = call["function"]
    yield {**index, **call, "function": {**function, "arguments": function["arguments"][:4]}}
    yield {**index, **repeated, "function": {"arguments": function["arguments"][4:]}}


@pytest.mark.parametrize("index", [{"index": 0}, {}, {"index": None}])
@pytest.mark.parametrize("together", [True, False])
def test_tool_calls_that_share_an_index_or_have_none(index, together):
    """Two calls of one answer stood in the log as one with the arguments of both (Ollama), or in fragments."""
    whole = [{**index, **A}, {**index, **B}]
    cut = [*halves(A, index), *halves(B, index)]
    repeating = [*halves(A, index, id="a"), *halves(B, index, id="b")]
    for pieces in (whole, cut, repeating):
        deltas = [pieces] if together else [[piece] for piece in pieces]
        message = assemble([chunk({"tool_calls": delta}) for delta in deltas])["choices"][0]["message"]
        assert message["tool_calls"] == [A, B]


def test_tool_calls_without_an_index_and_without_ids():
    """Only a name shows where the next one begins."""
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "f", "arguments": "{}"}}]
    message = assemble([chunk({"tool_calls": [call]}) for call in calls])["choices"][0]["message"]
    assert message["tool_calls"] == calls


def test_a_call_whose_pieces_have_an_id_each_is_one():
    """Older vLLM made up an id for each piece, and named the function once."""
    pieces = [{"index": 0, **piece, "id": f"id-{number}"} for number, piece in enumerate(halves(A, {}))]
    message = assemble([chunk({"tool_calls": [piece]}) for piece in pieces])["choices"][0]["message"]
    assert message["tool_calls"] == [{**A, "id": "id-1"}]


def test_what_names_a_format_is_no_text():
    """OpenRouter's details of the reasoning say their format in each piece."""
    details = [{"type": "reasoning.text", "text": text, "index": 0, "format": "x-v1"} for text in "ab"]
    message = assemble([chunk({"reasoning_details": [piece]}) for piece in details])["choices"][0]["message"]
    assert message["reasoning_details"] == [{"type": "reasoning.text", "text": "ab", "format": "x-v1"}]


def test_content_in_parts_that_goes_on_as_text():
    """Mistral's models think in parts and answer in text: the thoughts were lost."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events = [chunk({"content": [thought]}), chunk({"content": "An"}), chunk({"content": "swer"}, "stop")]
    message = assemble(events)["choices"][0]["message"]
    assert message["content"] == [thought, {"type": "text", "text": "Answer"}]


def test_a_whole_message_at_the_end_is_not_added():
    """Some servers repeat all of it: the text stood there twice."""
    last = chunk({}, "stop")
    last["choices"][0]["message"] = {"role": "assistant", "content": "Hello"}
    events = [chunk({"content": "Hel"}), chunk({"content": "lo"}), last]
    choice = assemble(events)["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Hello"}
    assert choice["finish_reason"] == "stop"


def test_several_choices_and_logprobs():
    """Choices that arrive mixed come apart again."""
    events = [chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({"content": "B"}, index=1)]
    for event, token in zip(events, "bab", strict=True):
        event["choices"][0]["logprobs"] = {"content": [{"token": token}]}
    choices = assemble(events)["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a", "bB"]
    assert choices[1]["logprobs"] == {"content": [{"token": "b"}, {"token": "b"}]}


def test_completions():
    """The older completions stream has text instead of deltas."""
    events = [
        {"object": "text_completion", "choices": [{"index": 0, "text": "a", "finish_reason": None}]},
        {"object": "text_completion", "choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]},
    ]
    assert assemble(events) == {
        "object": "text_completion",
        "choices": [{"index": 0, "text": "ab", "finish_reason": "stop"}],
    }


def test_response_is_that_of_its_last_event():
    """The responses API sends the whole object at the end."""
    done = {"id": "r", "status": "completed", "output": [1]}
    events = [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.completed", "response": done},
    ]
    assert assemble(events) == done


def test_cut_response_keeps_what_came():
    """A response cut in the middle shows the text so far."""
    events = [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "lo"},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
    ]
    assert assemble(events)["output"] == [
        {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
        {"arguments": "{}"},
    ]


@pytest.mark.parametrize(
    "events", [[], ["x"], [[1, 2]], [{"type": "transcript.text.delta"}], [{"choices": [1]}], [{"choices": 1}]]
)
def test_unknown_streams_are_left_alone(events):
    """What does not fit together is None, never an error."""
    assert assemble(events) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "index", "type", "response", "item", "output_index", "content"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(json_values, max_size=5))
def test_any_json_is_survived(events):
    """No stream of any upstream can crash the log."""
    assemble(events)


def test_azures_verdicts_are_not_joined():
    """What Azure says of each chunk's harm is the last word, not a text in pieces."""
    verdict = {"hate": {"filtered": False, "severity": "safe"}}
    events = [
        {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": text}, "content_filter_results": verdict}],
        }
        for text in ("a", "b")
    ]
    (choice,) = assemble(events)["choices"]
    assert choice["message"]["content"] == "ab"
    assert choice["content_filter_results"] == verdict


def llama_cpp_stream(completed=True, output=True):
    """As llama.cpp's server streams a Response: no event has an `output_index` or a `content_index`."""
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    message["content"] = [{"type": "output_text", "text": "Hello you", "annotations": []}]
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    reasoning = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "hm"}]}
    whole = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": [reasoning, message, call],
    }
    events = [
        {
            "type": "response.created",
            "response": {"id": "resp_1", "object": "response", "status": "in_progress"},
        },
        {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "rs_1", "summary": []}},
        {"type": "response.reasoning_text.delta", "item_id": "rs_1", "delta": "h"},
        {"type": "response.reasoning_text.delta", "item_id": "rs_1", "delta": "m"},
        {"type": "response.output_item.added", "item": {"type": "message", "id": "msg_1", "content": []}},
        {
            "type": "response.content_part.added",
            "item_id": "msg_1",
            "part": {"type": "output_text", "text": ""},
        },
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hello"},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": " you"},
        {
            "type": "response.output_item.added",
            "item": {"type": "function_call", "id": "fc_1", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{"},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "}"},
    ]
    if completed:
        events += [{"type": "response.output_item.done", "item": each} for each in (reasoning, message, call)]
        events.append(
            {"type": "response.completed", "response": whole if output else {**whole, "output": []}}
        )
    return events, whole


def test_a_response_without_numbers_is_put_together():
    """llama.cpp: the last event has the whole, also if nothing else is numbered."""
    events, whole = llama_cpp_stream()
    assert assemble(events) == whole


def test_a_response_without_numbers_that_was_cut_is_put_together():
    """What had come by then, each item by its id."""
    events, _ = llama_cpp_stream(completed=False)
    output = assemble(events)["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert output[1]["content"] == [{"type": "output_text", "text": "Hello you"}]
    assert output[2]["arguments"] == "{}"


def test_a_response_whose_end_has_no_output_is_put_together_from_its_items():
    """Some gateways end with an empty output although the items have passed."""
    events, whole = llama_cpp_stream(output=False)
    assert assemble(events) == whole
