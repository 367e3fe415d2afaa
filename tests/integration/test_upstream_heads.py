"""Nonsense in the head of an answer never reaches the client."""

import pytest
from world.client import ask
from world.requests import chat
from world.waiting import eventually

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


ODD_FRAMING = {
    "Transfer-Encoding can't be present with Content-Length": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "Duplicate Content-Length": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "Transfer-Encoding is not chunked, once": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "Invalid header token": b"X Y: 1\r\n\r\n",
}


@pytest.mark.parametrize("reason", ODD_FRAMING)
def test_it_is_said_what_is_not_valid(world, reason):
    """Gateways and frameworks that frame twice are common, and nobody could see why each answer was a 502."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    world.upstream.script = lambda call: (call.read_body(), call.send(head + ODD_FRAMING[reason]))
    answer = ask(world.port, chat())
    assert (answer.status, answer.error["code"]) == (502, "upstream_protocol_error")
    assert answer.error["message"] == f"The upstream's answer is not valid HTTP: {reason}."
    assert eventually(lambda: f'valid HTTP: {reason}."' in world.daemon.log)
