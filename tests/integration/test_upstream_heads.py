"""Nonsense in the head of an answer never reaches the client."""

import pytest
from world.client import ask
from world.requests import chat

BAD_HEADS = {
    "nul in reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    "escape in reason": b"HTTP/1.1 200 O\x1bK\r\nContent-Length: 0\r\n\r\n",
    "many lines": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 3000 + b"Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_nonsense_from_the_upstream_is_a_502(world, name):
    world.upstream.script = lambda call: (call.read_body(), call.send(BAD_HEADS[name]))
    answer = ask(world.port, chat())
    assert (answer.status, answer.error["code"]) == (502, "upstream_protocol_error")
