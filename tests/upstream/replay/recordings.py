"""Lines of the exchange log, and files of them."""

import gzip
import json

from openai_proxy.upstream.replay.cassette import Cassette, reader

IGNORED = frozenset(("user", "stream_options"))


EVENTS = {"Content-Type": "text/event-stream"}


def line(body=None, answer=None, **changes):
    """Return a line of the exchange log; `raw` are its chunks."""
    raw = changes.pop("raw", None)
    headers = changes.pop("headers", {"Content-Type": "application/json", "x-request-id": "req_1"})
    request = {"method": "POST", "path": "/v1/chat/completions", "headers": {}, "body": body}
    request |= changes.pop("request", {})
    response = {"status_code": 200, "headers": headers, "body": answer, "streaming": False}
    if raw is not None:
        response["raw"] = {"status_line": "HTTP/1.1 200 Fine", "chunks": raw}
    response |= changes.pop("response", {})
    return {
        "timestamp": "2026-01-01T00:00:00.000Z",
        "request": request,
        "response": response,
        "outcome": "complete",
        "first_byte_s": 1.0,
        "duration_s": 3.0,
        **changes,
    }


def write(directory, *lines, name="a.jsonl", tail=b""):
    directory.mkdir(exist_ok=True)
    text = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
    (directory / name).write_bytes(text + tail)
    return directory


def packed(directory, name, *lines):
    (directory / name).write_bytes(
        gzip.compress(b"".join(json.dumps(each).encode() + b"\n" for each in lines))
    )


def load(directory):
    warnings = []
    return Cassette(directory, reader(IGNORED), warnings.append), warnings
