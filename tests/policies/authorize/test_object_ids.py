"""Which stored objects a request and an answer name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.authorize.object_ids import (
    id_begun,
    id_in_path,
    ids_in_body,
    ids_in_field,
    ids_made,
    is_reference,
    makes_objects,
    no_such,
    references_in_body,
)
from openai_proxy.wire.targets import map_target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/v1/files/file-1", "file-1"),
        (b"/files/file-1/content?x=1", "file-1"),
        (b"/v1/files/file%2D1/", "file-1"),
        (b"/v1/files/file-1%2Fcontent", "file-1"),
        (b"/v1/FILES/file-1", "file-1"),
        (b"/openai/v1/files/file-1", "file-1"),
        (b"/v1/files", None),
        (b"/v1/responses/resp_1/input_items", "resp_1"),
        (b"/v1/responses/compact", None),
        (b"/v1/threads/runs", None),
        (b"/v1/threads/t/runs/r", "t"),
        (b"/v1/fine_tuning/jobs/ft-1/events", "ft-1"),
        (b"/v1/chat/completions/c-1", "c-1"),
        (b"/v1/chat/completions", None),
        (b"/v1/models/gpt-4o", None),
        (b"/v1/videos/characters/char_1", "char_1"),
    ],
)
def test_the_object_of_a_path(target, expected):
    """The first one governs what is below it."""
    path = map_target(target)
    assert id_in_path(path.target, path.named) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"previous_response_id": "r"}, ["r"]),
        ({"Previous_Response_ID": "r"}, ["r"]),
        ({"conversation": "c"}, ["c"]),
        ({"conversation": {"id": "c"}}, ["c"]),
        ({"input_file_id": "f"}, ["f"]),
        ({"tools": [{"environment": {"skills": [{"type": "skill_reference", "skill_id": "s"}]}}]}, ["s"]),
        ({"video": {"id": "v"}, "prompt": "x"}, ["v"]),
        ({"messages": [{"content": [{"type": "video", "video": "https://x.test/a.mp4"}]}]}, []),
        ({"vector_store_ids": [["a"], {"id": "b"}]}, ["a", "b"]),
        ({"training_file": "f", "validation_file": None}, ["f"]),
        ({"input": [{"content": [{"type": "input_file", "file_id": "f"}]}]}, ["f"]),
        ({"input": [{"type": "item_reference", "id": "i"}]}, ["i"]),
        ({"input": [{"type": "message", "id": "i"}]}, []),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v", "w"]}]}, ["v", "w"]),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]}, ["f"]),
        ({"tools": [{"type": "code_interpreter", "container": "auto"}]}, []),
        ({"container": "cntr_1", "assistant_id": "a", "thread_id": "t"}, ["cntr_1", "a", "t"]),
        ({"input": 'say "file_id": "f"'}, []),
        ({"tools": [{"parameters": {"properties": {"file_id": {"type": "string"}}}}]}, []),
        ({"metadata": {"conversation_id": "c"}, "client_metadata": {"thread_id": "t"}}, []),
        ({"file_id": "f", "attributes": {"file_id": "a", "video": [{"file_id": "g"}]}}, ["f", "g"]),
        ({"metadata": [{"file_id": "f"}]}, ["f"]),
        ({"input": "x"}, []),
    ],
)
def test_the_objects_of_a_body(document, expected):
    """Wherever the API's schemas name one, in any spelling, and nowhere else."""
    assert sorted(ids_in_body(json.dumps(document).encode())) == sorted(expected)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("file_id", True), ("video[id]", True), ("video", True), ("image[][file_id]", True), ("file_ids[0]", True),
        ("tool_resources.file_ids", True), ("file", False), ("id", False), ("", False), ("prompt", False),
        ("video_size", False), ("metadata[conversation_id]", False), ("attributes.video[id]", False),
        ("metadata[x][file_id]", True),
    ],
)  # fmt: skip
def test_the_fields_of_a_form_that_refer(field, expected):
    """In the ways in which SDKs and servers write members of members."""
    assert is_reference(field) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("f", ["f"]), (' {"id":"f"}', ["f"]), ('["f","g"]', ["f", "g"]), ("f, g", ["f", "g"]), ('"f"', ["f"]), ("", []), ("7", ["7"])],
)  # fmt: skip
def test_the_ids_of_a_field(value, expected):
    """One, several, or JSON."""
    assert ids_in_field(value) == expected


def test_duplicates_and_escapes_hide_nothing():
    """Servers may take either of two members."""
    assert sorted(ids_in_body(b'{"file_id":"a","file_id":"b"}')) == ["a", "b"]
    assert ids_in_body(b'{"file\\u005fid":"a"}') == ["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"id":"f","object":"file"}', ["f"]),
        (
            b' {"id":"r","output":[{"id":"msg_1"},{"container_id":"c"}],"metadata":{"id":"no"}}',
            ["r", "msg_1", "c"],
        ),
        (b'{"id":"b","output_file_id":"o","error_file_id":null}', ["b", "o"]),
        (b'{"id":"run","thread_id":"t"}', ["run", "t"]),
        (b'{"type":"response.created","response":{"id":"r"}}', ["r"]),
        (b'{"id":"r","output":[{"id":"cut', ["r"]),
        (b'{"id":7}', []),
        (b"[]", []),
        (b"", []),
        (b"RIFF", []),
    ],
)
def test_what_an_answer_has_made(text, expected):
    """Only what the upstream says itself; nothing that it echoes."""
    assert ids_made(text) == expected


@pytest.mark.parametrize(
    ("method", "endpoint", "document", "expected"),
    [
        (b"POST", "files", None, True),
        (b"POST", "responses", {}, True),
        (b"POST", "responses", {"store": False}, False),
        (b"POST", "chat/completions", {}, False),
        (b"POST", "chat/completions", {"store": True}, True),
        (b"POST", "embeddings", {}, False),
        (b"GET", "batches/{id}", None, True),
        (b"GET", "files/{id}", None, False),
        (b"DELETE", "files/{id}", None, False),
    ],
)
def test_what_makes_objects(method, endpoint, document, expected):
    """Chats that are not stored cost no write."""
    assert makes_objects(method, endpoint, document) is expected


def test_it_is_said_in_openais_words():
    """The kind by the id, else by the endpoint."""
    assert no_such("file-1", "batches") == "No such File object: file-1"
    assert no_such("x", "vector_stores/{id}") == "No such Vector store object: x"


def test_a_reference_is_reported_with_its_member():
    """The error can name it."""
    body = b'{"previous_response_id":"resp_1","tools":[{"vector_store_ids":["vs_1"]}],"input":[{"type":"item_reference","id":"rs_1"}]}'
    assert references_in_body(body) == {
        "resp_1": "previous_response_id",
        "vs_1": "vector_store_ids",
        "rs_1": "id",
    }


@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "response", "item", "output", "container_id", "result_files", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_ids_are_the_same_by_the_quick_way_and_by_the_slow_one(value):
    """A document that is whole is decoded at once; one that is cut is walked: so is a whole one that orjson refuses."""
    text = json.dumps(value).encode()
    slowly = text[:-1] + b',"odd":NaN}' if text.startswith(b"{") and text != b"{}" else text
    assert ids_made(text) == ids_made(slowly)


def test_the_id_is_found_before_the_rest_has_come():
    """However much of the answer is missing; never one that is only echoed."""
    event = b'{"type":"response.created","sequence_number":0,"response":{"object":"response","id":"resp_1","tools":['
    assert id_begun(event) == "resp_1"
    assert id_begun(event[:-20]) is None
    assert id_begun(b'{"metadata":{"id":"resp_echoed"},"id":"resp_1"') == "resp_1"
    assert id_begun(b'{"id":5}') is None
    assert id_begun(b"[1]") is None
