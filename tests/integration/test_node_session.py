"""What openai's library for Node sent in a session, played against what was recorded of it.

`tests/conformance/node_replay.py --write` has made both files, with the library itself.
"""

import base64
import json
import re
import time
from pathlib import Path

import pytest
from world.client import Client

KEPT = Path(__file__).with_name("node_session")
LINES = sorted(
    map(json.loads, (KEPT / "cassette.jsonl").read_text("utf-8").splitlines()),
    key=lambda line: line["timestamp"],
)


def requests():
    """Return the bytes of each request, in the order in which the library sent them."""
    sent, found = (KEPT / "sent.bin").read_bytes(), []
    while sent:
        head, *_ = sent.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = len(head) + 4 + (int(length[1]) if length else 0)
        found.append(sent[:size])
        sent = sent[size:]
    return found


def chunks(line):
    """Return moments and bytes of a recorded answer."""
    listed = line["response"]["raw"]["chunks"]
    return [
        (at, data.encode() if isinstance(data, str) else base64.b64decode(data["base64"]))
        for at, data in listed
    ]


@pytest.fixture
def replaying(start):
    return lambda **env: start(env={"OPENAI_API_BASE": f"replay:{KEPT}", **env})


def test_the_session_is_answered_byte_for_byte(replaying):
    """Status, reason, headers and bodies, on one connection, as the library asks."""
    world = replaying()
    assert len(requests()) == len(LINES) == 10
    with Client(world.port) as client:
        for request, line in zip(requests(), LINES, strict=True):
            client.send(request)
            answer = client.response()
            recorded = line["response"]
            assert f"HTTP/1.1 {answer.status} {answer.reason.decode()}" == recorded["raw"]["status_line"]
            assert answer.body == b"".join(data for _, data in chunks(line))
            headers = {name.decode().lower(): value.decode() for name, value in answer.headers}
            hop = {"connection", "keep-alive", "transfer-encoding", "content-length", "date"}
            recorded_headers = {name.lower(): value for name, value in recorded["headers"].items()}
            assert recorded_headers.keys() >= {"content-type", "x-request-id"}
            assert {n: v for n, v in recorded_headers.items() if n not in hop}.items() <= headers.items()


def test_the_session_takes_its_time(replaying):
    """A tenth of it, as was asked for: no answer is whole before its moment."""
    world = replaying(REPLAY__TIMING="0.1")
    with Client(world.port) as client:
        for request, line in zip(requests(), LINES, strict=True):
            began = time.monotonic()
            client.send(request)
            assert client.response().whole
            last_at, _ = chunks(line)[-1]
            assert time.monotonic() - began >= last_at * 0.1 - 0.005
