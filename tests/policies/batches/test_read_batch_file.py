"""Input files of batches are read while they stream up, and go up as they came."""

import gzip
import json

import pytest
from fakes import (
    JSON,
    Forward,
    ReadyBody,
    Uploads,
    exchange,
    incoming,
    response,
    result_of,
    results_of,
    through,
)
from twisted.internet.defer import Deferred, fail

from openai_proxy.cost.batch_inputs import MemoryInputs
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.errors import Overloaded
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.batches.read_batch_file import ReadBatchFile

FORM = (b"Content-Type", b"multipart/form-data; boundary=xXx")
LINE = json.dumps({"url": "/v1/responses", "body": {"model": "m", "input": "hi"}}).encode()
UPLOAD = (
    b'--xXx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--xXx\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    + LINE
    + b"\r\n--xXx--\r\n"
)
MADE = json.dumps({"id": "file-1", "object": "file", "bytes": len(LINE)}).encode()


class BatchUploads:
    """The stage; `sent` is what went upstream, which answers `answer`."""

    def __init__(self, buffered=1 << 20):
        self.inputs = MemoryInputs()
        self.buffered = BufferedBytes(buffered)
        self.stage = ReadBatchFile({"alice": "key:alice"}, self.inputs, self.buffered)
        self.sent = b""

    def upload(self, *pieces, answer=MADE, status=200, headers=(JSON,), **fields):
        """Return the response, or the error, and what the client receives."""
        body = incoming(complete=False)
        record = exchange(credential_id=fields.pop("key", "alice"))
        asked = {"method": b"POST", "endpoint": "files", "lines": (FORM,), **fields}
        lines = list(asked.pop("lines"))
        request = ProxyRequest(asked.pop("method"), b"/files", lines, body, record, **asked)
        forward = Uploads(response(ReadyBody(answer), *headers, status=status))
        ended = results_of(through(self.stage, request, forward))
        for piece in pieces or (UPLOAD,):
            body.feed(piece)
        body.end()
        record.end(Outcome.COMPLETE, 1.0)
        self.sent = forward.sent.data
        return ended[0]

    def contents(self, name="file-1"):
        return result_of(self.inputs.find(name))


@pytest.mark.parametrize("pieces", [(UPLOAD,), tuple(bytes([byte]) for byte in UPLOAD)])
def test_a_file_is_known_by_the_id_of_the_answer(pieces):
    """And not a byte of it is changed."""
    uploads = BatchUploads()
    answered = uploads.upload(*pieces)
    assert (answered.status, uploads.sent) == (200, UPLOAD)
    owner, contents = uploads.contents()
    assert (owner, contents.models, contents.problem) == ("key:alice", ["m"], None)
    assert uploads.buffered.held_bytes == 0


def test_the_answer_may_be_compressed():
    """As upstreams send it to clients that take it."""
    uploads = BatchUploads()
    uploads.upload(answer=gzip.compress(MADE), headers=(JSON, (b"Content-Encoding", b"gzip")))
    assert uploads.contents() is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "bob"},
        {"method": b"PUT"},
        {"endpoint": "uploads"},
        {"encoded": True},
        {"lines": ()},
        {"lines": (FORM, FORM)},
        {"lines": ((b"Content-Type", b"application/octet-stream"),)},
        {"status": 400},
        {"answer": b"nonsense"},
        {"answer": b'{"id": 7}'},
        {"answer": json.dumps({"id": "x" * 300}).encode()},
        {"answer": b""},
    ],
)
def test_what_is_no_upload_of_a_caller_with_rules_is_left_alone(fields):
    """Other callers and endpoints, compressed forms, failures, answers that name no file."""
    uploads = BatchUploads()
    assert uploads.upload(**fields).status == fields.get("status", 200)
    assert uploads.contents() is None
    assert uploads.sent == UPLOAD


def test_a_file_that_cannot_be_read_goes_up_all_the_same():
    """It is good for everything but a batch, and what is wrong is known then."""
    uploads = BatchUploads()
    broken = UPLOAD.replace(LINE, LINE[:-1])
    assert (uploads.upload(broken).status, uploads.sent) == (200, broken)
    assert "line 1" in uploads.contents()[1].problem


def test_lines_that_are_arriving_count_as_held():
    """Many uploads at once must not fill the memory."""
    uploads = BatchUploads(buffered=1000)
    long = UPLOAD.replace(b"hi", b"x" * 3000)
    assert isinstance(uploads.upload(long[:2000], long[2000:]), Overloaded)
    assert uploads.buffered.held_bytes == 0
    assert uploads.contents() is None


def test_a_store_that_fails_leaves_the_upload_alone():
    """The file is there; a batch of it will be refused."""
    uploads = BatchUploads()
    uploads.inputs.keep = lambda name, owner, contents: fail(OSError("disk full"))
    assert uploads.upload().status == 200


def test_the_client_gets_the_answer_when_the_file_is_known():
    """Otherwise a batch right after it would be refused."""
    uploads = BatchUploads()
    late = Deferred()
    uploads.inputs.keep = lambda name, owner, contents: late
    body = incoming(complete=False)
    request = ProxyRequest(
        b"POST", b"/files", [FORM], body, exchange(credential_id="alice"), endpoint="files"
    )
    forward = Forward(response(ReadyBody(MADE), JSON))
    answered = results_of(through(uploads.stage, request, forward))
    body.feed(UPLOAD)
    body.end()
    assert answered == []
    late.callback(None)
    assert answered[0].status == 200
