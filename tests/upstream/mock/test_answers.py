"""What the mock upstream answers, endpoint by endpoint."""

import base64
import json
import math
from array import array

import pytest
from upstream.mock.asking import HELLO, WEATHER, ask, chat, error, events, read, whole

from openai_proxy.upstream.mock.memory import MockMemory

# ---- chat


def test_the_same_request_gets_the_same_bytes():
    """Spaces and the order of members do not count; another prompt gets another answer."""
    first = ask("chat/completions", chat(temperature=1)).data
    assert ask("chat/completions", {"temperature": 1, "messages": HELLO, "model": "mock-text"}).data == first
    other = ask("chat/completions", chat(temperature=0)).data
    assert other != first


def test_a_stream_says_what_the_plain_answer_says():
    """Text, finish, usage and id, piece by piece."""
    plain = read(ask("chat/completions", chat(n=2)))
    sent = events(ask("chat/completions", chat(n=2, stream=True, stream_options={"include_usage": True})))
    assert {each["id"] for each in sent} == {plain["id"]}
    assert sent[-1]["usage"] == plain["usage"]
    assert sent[-1]["choices"] == []
    for index in range(2):
        deltas = [choice for each in sent for choice in each["choices"] if choice["index"] == index]
        text = "".join(choice["delta"].get("content", "") for choice in deltas)
        assert text == plain["choices"][index]["message"]["content"]
        assert deltas[-1]["finish_reason"] == plain["choices"][index]["finish_reason"] == "stop"
        assert len(deltas) > 5


def test_usage_comes_in_a_stream_only_if_it_is_asked_for():
    """As OpenAI's API has it."""
    assert all("usage" not in each for each in events(ask("chat/completions", chat(stream=True))))


def test_echo_says_what_the_user_said_last():
    """Parts that are text are joined; half of a character is replaced."""
    parts = [{"type": "text", "text": "a\ud800"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [*HELLO, {"role": "assistant", "content": "no"}, {"role": "user", "content": parts}]
    reply = read(ask("chat/completions", {"model": "mock-echo", "messages": messages}))
    assert reply["choices"][0]["message"]["content"] == "a?"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_the_limit_of_tokens(name):
    """And says so."""
    reply = read(ask("chat/completions", chat(**{name: 3})))
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 3


def test_an_echo_is_bounded():
    """Nobody gets gigabytes for megabytes."""
    document = {"model": "mock-echo", "messages": [{"role": "user", "content": "ab " * 100_000}]}
    reply = read(ask("chat/completions", document))
    assert reply["choices"][0]["finish_reason"] == "length"
    assert len(reply["choices"][0]["message"]["content"]) == 65536


@pytest.mark.parametrize(
    ("model", "choice", "calls"),
    [
        ("mock-tools", None, True),
        ("mock-tools", "none", False),
        ("mock-text", None, False),
        ("mock-text", "required", True),
        ("gpt-4o", {"type": "function", "function": {"name": "weather"}}, True),
        ("gpt-4o", {"type": "function", "function": {"name": "other"}}, False),
    ],
)
def test_tools_are_called(model, choice, calls):
    """By `mock-tools`, and by any model that must."""
    extra = {} if choice is None else {"tool_choice": choice}
    reply = read(ask("chat/completions", chat(model=model, tools=[WEATHER], **extra)))
    found = reply["choices"][0]
    assert (found["finish_reason"] == "tool_calls") is calls
    if calls:
        (call,) = found["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


def test_a_call_streams_its_arguments():
    """Name first, then pieces that make up the JSON of the plain answer."""
    asked = chat(model="mock-tools", tools=[WEATHER])
    plain = read(ask("chat/completions", asked))["choices"][0]["message"]["tool_calls"][0]
    deltas = [
        call
        for each in events(ask("chat/completions", {**asked, "stream": True}))
        for choice in each["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert (deltas[0]["id"], deltas[0]["function"]["name"]) == (plain["id"], "weather")
    assert "".join(each["function"]["arguments"] for each in deltas) == plain["function"]["arguments"]


def test_after_the_tool_has_answered_there_is_text():
    """So that a loop of an agent ends."""
    messages = [*HELLO, {"role": "tool", "tool_call_id": "c", "content": "12 degrees"}]
    reply = read(ask("chat/completions", {"model": "mock-tools", "messages": messages, "tools": [WEATHER]}))
    assert reply["choices"][0]["message"]["content"] == "The tool answered: 12 degrees"


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {
            "type": "json_schema",
            "json_schema": {
                "name": "a",
                "schema": {"type": "object", "properties": {"text": {"type": "string"}}},
            },
        },
    ],
)
def test_structured_output_is_json(form):
    """It fits the schema."""
    reply = read(ask("chat/completions", chat(response_format=form)))
    assert isinstance(json.loads(reply["choices"][0]["message"]["content"])["text"], str)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages"),
        ({"model": 7}, "model"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)
def test_nonsense_is_refused_in_openais_shape(changes, param):
    """The member is named."""
    status, found = error(ask("chat/completions", chat(**changes)))
    assert (status, found["param"]) == (400, param)


def test_a_model_in_the_path_is_the_model():
    """As in Azure's form."""
    reply = read(ask("chat/completions", {"messages": HELLO}, path_model="mock-echo"))
    assert (reply["model"], reply["choices"][0]["message"]["content"]) == ("mock-echo", "Hello there")


# ---- completions


@pytest.mark.parametrize(
    ("prompt", "choices"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2], [3]], 3)]
)
def test_completions_have_a_choice_for_each_prompt(prompt, choices):
    """Texts, token ids, and lists of both; streamed alike."""
    asked = {"model": "m", "prompt": prompt, "max_tokens": 50}
    plain = read(ask("completions", asked))
    assert len(plain["choices"]) == choices
    sent = events(ask("completions", {**asked, "stream": True}))
    for choice in plain["choices"]:
        texts = [c["text"] for e in sent for c in e["choices"] if c["index"] == choice["index"]]
        assert "".join(texts) == choice["text"]


def test_too_many_prompts_are_refused():
    """The bound is stated."""
    status, found = error(ask("completions", {"model": "m", "prompt": ["a"] * 129}))
    assert (status, found["param"]) == (400, "prompt")


# ---- embeddings


def vectors(**members):
    return [each["embedding"] for each in read(ask("embeddings", {"model": "m", **members}))["data"]]


def test_embeddings_are_unit_vectors_that_follow_from_the_text():
    """1,536 dimensions, or as many as asked for; the place in a list does not count."""
    one, two = vectors(input=["a", "b"])
    assert len(one) == 1536
    assert math.isclose(sum(x * x for x in one), 1, abs_tol=1e-5)
    assert (vectors(input="b"), one != two) == ([two], True)
    (short,) = vectors(input="a", dimensions=4)
    assert math.isclose(sum(x * x for x in short), 1, abs_tol=1e-5)
    assert math.isclose(short[0] / short[1], one[0] / one[1], rel_tol=1e-5)


def test_embeddings_in_base64_are_the_same_numbers():
    """Little-endian 32-bit floats, as OpenAI sends them."""
    (plain,) = vectors(input="a", dimensions=8)
    (coded,) = vectors(input="a", dimensions=8, encoding_format="base64")
    assert array("f", base64.b64decode(coded)).tolist() == plain


@pytest.mark.parametrize("given", ["", [], [""], [7, "a"], {"a": 1}, ["a"] * 2049])
def test_input_that_is_none_is_refused(given):
    """With the member's name."""
    status, found = error(ask("embeddings", {"model": "m", "input": given}))
    assert (status, found["param"]) == (400, "input")


@pytest.mark.parametrize(("name", "value"), [("dimensions", 4097), ("encoding_format", "hex")])
def test_forms_of_embeddings_that_there_are_not_are_refused(name, value):
    """Before anything is made."""
    assert error(ask("embeddings", {"model": "m", "input": "a", name: value}))[1]["param"] == name


def test_token_ids_are_one_input():
    """LangChain sends arrays of them."""
    assert len(vectors(input=[1, 2, 3], dimensions=2)) == 1
    assert len(vectors(input=[[1, 2], [3]], dimensions=2)) == 2


# ---- responses


def test_a_response_streams_what_it_says_plainly():
    """Every event is numbered; the last one has the whole response."""
    asked = {"model": "mock-echo", "input": "some words to say"}
    plain = read(ask("responses", asked))
    sent = events(ask("responses", {**asked, "stream": True}))
    assert [each["sequence_number"] for each in sent] == list(range(len(sent)))
    assert sent[0]["type"] == "response.created"
    assert (sent[-1]["type"], sent[-1]["response"]) == ("response.completed", plain)
    deltas = [each["delta"] for each in sent if each["type"] == "response.output_text.delta"]
    assert "".join(deltas) == plain["output"][0]["content"][0]["text"] == "some words to say"


def test_a_response_that_is_cut_is_incomplete():
    """With the reason."""
    reply = read(ask("responses", {"model": "m", "input": "a", "max_output_tokens": 2}))
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_a_response_calls_a_tool_and_takes_its_answer():
    """In the form of this endpoint."""
    tools = [{"type": "function", "name": "weather", "parameters": WEATHER["function"]["parameters"]}]
    asked = {"model": "mock-tools", "input": [{"role": "user", "content": "x"}], "tools": tools}
    (call,) = read(ask("responses", asked))["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    sent = events(ask("responses", {**asked, "stream": True}))
    deltas = [e["delta"] for e in sent if e["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call["arguments"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "cold"}
    after = read(ask("responses", {**asked, "input": [*asked["input"], call, result]}))
    assert after["output"][0]["content"][0]["text"] == "The tool answered: cold"


def test_a_response_is_stored_and_deleted():
    """With what was asked; a later request may go on from it."""
    memory = MockMemory()

    def at(endpoint, document=None, method="GET", target=None):
        return ask(endpoint, document, method, target, memory=memory)

    made = read(at("responses", {"model": "m", "input": "a"}, "POST"))
    path = b"/responses/" + made["id"].encode()
    assert read(at("responses/{id}", target=path)) == made
    (item,) = read(at("responses/{id}/input_items", target=path + b"/input_items"))["data"]
    assert item["content"] == [{"type": "input_text", "text": "a"}]
    assert error(at("responses/{id}/cancel", method="POST", target=path + b"/cancel"))[0] == 400
    after = {"model": "m", "input": "b", "previous_response_id": made["id"]}
    assert read(at("responses", after, "POST"))["previous_response_id"] == made["id"]
    assert read(at("responses/{id}", method="DELETE", target=path))["deleted"] is True
    assert error(at("responses/{id}", target=path))[0] == 404
    assert error(at("responses", after, "POST"))[1]["code"] == "previous_response_not_found"


def test_a_stored_response_streams_from_any_event_on():
    """Clients that lost a stream read on with `starting_after`; they got a document, and their helpers no event."""
    memory = MockMemory()
    asked = {"model": "mock-text", "input": "hello", "background": True}
    first = answer_of({**asked, "stream": True}, memory)
    path = f"/responses/{first[0]['response']['id']}".encode()

    def again(query):
        reply = ask("responses/{id}", method="GET", target=path + b"?stream=true" + query, memory=memory)
        assert reply.content_type.startswith(b"text/event-stream")
        return events(reply)

    assert again(b"") == first
    assert again(b"&starting_after=4") == [each for each in first if each["sequence_number"] > 4]
    end = ask(
        "responses/{id}", method="GET", target=path + b"?stream=true&starting_after=9999", memory=memory
    )
    assert whole(end) == b""
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    first = answer_of({"model": "mock-tools", "input": "x", "tools": tools, "stream": True}, memory)
    path = f"/responses/{first[0]['response']['id']}".encode()
    assert again(b"") == first
    first = answer_of({**asked, "max_output_tokens": 3, "stream": True}, memory)
    path = f"/responses/{first[0]['response']['id']}".encode()
    assert again(b"") == first


def answer_of(document, memory):
    return events(ask("responses", document, memory=memory))


def test_input_items_are_listed_in_pages():
    """The newest first unless `order` says otherwise, as many as `limit` says."""
    memory = MockMemory()
    given = [{"role": "user", "content": str(number)} for number in range(25)]
    made = read(ask("responses", {"model": "mock-text", "input": given}, memory=memory))

    def listed(query):
        target = f"/responses/{made['id']}/input_items{query}".encode()
        page = read(ask("responses/{id}/input_items", method="GET", target=target, memory=memory))
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        return page["last_id"], [int(item["content"]) for item in page["data"]], page["has_more"]

    last, *page = listed("")
    assert page == [[*range(24, 4, -1)], True]
    assert listed(f"?after={last}")[1:] == ([*range(4, -1, -1)], False)
    assert listed("?order=asc&limit=2")[1:] == ([0, 1], True)


def test_a_background_response_that_has_ended_can_be_cancelled():
    """It is returned as it is, as at OpenAI; one that is none is refused."""
    memory = MockMemory()
    asked = {"model": "mock-text", "input": "hello", "background": True}
    made = read(ask("responses", asked, memory=memory))
    target = f"/responses/{made['id']}/cancel".encode()
    assert read(ask("responses/{id}/cancel", target=target, memory=memory)) == made


def test_a_response_that_must_not_be_stored_is_not():
    """`store` is false."""
    memory = MockMemory()
    made = read(ask("responses", {"model": "m", "input": "a", "store": False}, memory=memory))
    found = ask("responses/{id}", method="GET", target=b"/responses/" + made["id"].encode(), memory=memory)
    assert found.status == 404


def test_the_oldest_responses_are_forgotten():
    """A thousand are kept."""
    memory = MockMemory()
    for number in range(1001):
        memory.keep_response(f"resp_{number}", b"x", b"")
    assert memory.response("resp_1").data == b"x"
    for number in range(17):
        memory.keep_response(f"large_{number}", bytes(1024 * 1024), b"")
    assert memory.response("large_16").status == 200
    memory.check_previous("large_1")
    with pytest.raises(Exception, match="not found"):
        memory.check_previous("large_0")


def test_tokens_of_an_input_are_counted_and_inputs_compacted():
    """The two further endpoints of @metered."""
    assert read(ask("responses/input_tokens", {"model": "m", "input": "a"}))["input_tokens"] > 0
    reply = read(ask("responses/compact", {"model": "m", "input": [{"role": "user", "content": "x"}]}))
    assert [each.get("type") for each in reply["output"]] == [None, "compaction"]


# ---- the others


@pytest.mark.parametrize("given", ["a", ["a", "b"], [{"type": "text", "text": "a"}]])
def test_nothing_is_flagged(given):
    """A result for each text; parts are of one."""
    results = read(ask("moderations", {"input": given}))["results"]
    assert len(results) == (2 if given == ["a", "b"] else 1)
    assert not any(each["flagged"] or any(each["categories"].values()) for each in results)


@pytest.mark.parametrize(("form", "begin"), [("mp3", b"\xff\xfb"), ("wav", b"RIFF"), ("pcm", b"\0\0")])
def test_speech_is_silence_in_the_format_asked_for(form, begin):
    """It lasts as long as the text."""
    asked = {"model": "m", "voice": "v", "response_format": form}
    short = ask("audio/speech", {**asked, "input": "hi"}).data
    longer = ask("audio/speech", {**asked, "input": "hi " * 50}).data
    assert short.startswith(begin)
    assert len(longer) > 5 * len(short)
    assert ask("audio/speech", {**asked, "input": "hi " * 50_000}).data.__len__() < 4_000_000


def test_speech_streams_as_events():
    """With its usage at the end."""
    asked = {"model": "m", "voice": "v", "input": "hello"}
    sent = events(ask("audio/speech", {**asked, "stream_format": "sse"}))
    assert sent[-1]["type"] == "speech.audio.done"
    audio = b"".join(base64.b64decode(each["audio"]) for each in sent[:-1])
    assert audio == ask("audio/speech", asked).data


def test_a_format_that_is_not_made_is_refused():
    """No false file is sent."""
    asked = {"model": "m", "voice": "v", "input": "hello", "response_format": "flac"}
    assert error(ask("audio/speech", asked))[1]["code"] == "not_mocked"


def test_models_are_listed_and_there_is_one_of_every_name():
    """Also of one with slashes."""
    listed = [each["id"] for each in read(ask("models", method="GET"))["data"]]
    assert {"mock-echo", "mock-text", "mock-tools", "mock-429", "mock-stall"} <= set(listed)
    reply = read(ask("models/{id}/{id}", method="HEAD", target=b"/models/org/a%20b"))
    assert reply["id"] == "org/a b"


@pytest.mark.parametrize(
    ("method", "endpoint"),
    [
        ("POST", "images/generations"),
        ("GET", "chat/completions"),
        ("WEBSOCKET", "realtime"),
        ("POST", "models"),
    ],
)
def test_what_is_not_mocked_is_said(method, endpoint):
    """Never an answer that could be taken for one."""
    status, found = error(ask(endpoint, {}, method))
    assert (status, found["code"]) == (404, "not_mocked")
