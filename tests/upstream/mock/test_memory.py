"""The files that the mock upstream keeps."""

import pytest
from upstream.mock.asking import ask, error, read

from openai_proxy.upstream.mock.answers import Question, answer
from openai_proxy.upstream.mock.memory import LARGEST_FILE_BYTES, MOST_FILE_BYTES, MockMemory

BOUNDARY = (b"multipart/form-data; boundary=b",)


def upload(memory, content=b"hello", purpose=b"batch", name=b"a.jsonl", **changes):
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n%b\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: text/plain\r\n\r\n%b\r\n--b--\r\n'
    ) % (purpose, name, content)
    fields = {"content_types": BOUNDARY, "body": body, **changes}
    return answer(Question("POST", "files", b"/files", memory=memory, **fields))


def test_a_file_is_kept_as_it_came():
    """Uploaded, listed, read and deleted."""
    memory = MockMemory()
    content = bytes(range(256)) + b"\r\n--x\r\n"
    made = read(upload(memory, content))
    assert (made["bytes"], made["filename"], made["purpose"]) == (len(content), "a.jsonl", "batch")
    target = b"/files/" + made["id"].encode()
    assert read(ask("files/{id}", method="GET", target=target, memory=memory)) == made
    found = ask("files/{id}/content", method="GET", target=target + b"/content", memory=memory)
    assert found.data == content
    assert read(ask("files/{id}", method="DELETE", target=target, memory=memory))["deleted"] is True
    assert error(ask("files/{id}", method="GET", target=target, memory=memory))[0] == 404


def test_files_are_listed_in_pages():
    """The newest first, by purpose, from one on, up to a number."""
    memory = MockMemory()
    ids = [read(upload(memory, b"%d" % n))["id"] for n in range(3)]
    other = read(upload(memory, purpose=b"vision"))["id"]

    def listed(query):
        page = read(ask("files", method="GET", target=b"/files?" + query, memory=memory))
        return [each["id"] for each in page["data"]], page["has_more"]

    assert listed(b"") == ([other, *reversed(ids)], False)
    assert listed(b"purpose=batch&limit=2") == ([ids[2], ids[1]], True)
    assert listed(b"purpose=batch&after=" + ids[1].encode()) == ([ids[0]], False)
    assert listed(b"order=asc&limit=1") == ([ids[0]], True)
    assert listed(b"after=nothing&limit=x") == ([], False)


def test_the_same_file_twice_is_two_files():
    """As at OpenAI's."""
    memory = MockMemory()
    assert read(upload(memory))["id"] != read(upload(memory))["id"]


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"purpose": b"fun"}, 400, "purpose"),
        ({"content_types": ()}, 400, None),
        ({"body": b"--b\r\n\r\n"}, 400, None),
        ({"body": b"--b\r\nContent-Disposition: x\r\n\r\n\r\n--b--"}, 400, "file"),
        ({"body": b"--b\r\nno head\r\n--b--"}, 400, None),
        ({"body": b"--b\r\n\r\n\r\n" * 200 + b"--b--"}, 400, None),
        ({"content": bytes(LARGEST_FILE_BYTES + 1)}, 413, None),
    ],
)
def test_uploads_that_are_none_are_refused(changes, status, param):
    """Forms that are broken, and files that are too large."""
    memory = MockMemory()
    found, shape = error(upload(memory, **changes))
    assert (found, shape["param"]) == (status, param)
    assert read(ask("files", method="GET", memory=memory))["data"] == []


def test_memory_is_bounded():
    """Beyond it an upload is refused until something is deleted."""
    memory = MockMemory()
    made = [
        read(upload(memory, bytes(LARGEST_FILE_BYTES))) for _ in range(MOST_FILE_BYTES // LARGEST_FILE_BYTES)
    ]
    assert error(upload(memory, b"x"))[0] == 413
    target = b"/files/" + made[0]["id"].encode()
    assert read(ask("files/{id}", method="DELETE", target=target, memory=memory))["deleted"] is True
    assert read(upload(memory, b"x"))["bytes"] == 1
