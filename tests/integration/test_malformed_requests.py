"""Hand-picked malformed requests against a real daemon: refused or closed, never smuggled."""

import time

import pytest
from integration.malformed_requests import CASES
from world.client import Client, ask
from world.requests import request
from world.waiting import eventually

FRAMING = (b"content-length", b"transfer-encoding")
PATIENCE_S = 0.1
BOUND_S = 30.0
"""The header timeout of the shared daemon is 5 s; a sweep and the slow machine come on top."""


def answers_until_the_end(client):
    """Return the responses that came before the connection ended, or None if it did not end.

    Who is not refused by then is told that nothing more comes.
    """
    responses = []
    for patience_s in (PATIENCE_S, BOUND_S):
        deadline = time.monotonic() + patience_s
        while (response := client.response(max(0.05, deadline - time.monotonic()))).whole:
            responses.append(response)
        if client.end != "open":
            return responses if response.status is None else [*responses, response]
        client.put_back()
        client.half_close()
    return None


def is_own_error(response):
    return response.status >= 400 and response.error["type"] == "invalid_request_error"


def test_table_is_large_enough():
    """The table covers what it is meant to cover."""
    assert len(CASES) >= 200


@pytest.mark.parametrize(("raw", "allowed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_malformed_request_is_refused(world, raw, allowed):
    """An error or the end, in bounded time; nothing hidden goes up; the next request works."""
    with Client(world.port) as client:
        client.send(raw)
        responses = answers_until_the_end(client)
    assert responses is not None, "neither answered nor closed"
    answered = [response for response in responses if response.status == 200]
    assert all(is_own_error(response) for response in responses if response.status != 200)
    calls = world.upstream.calls
    assert not any(b"SMUGGLED" in call.target for call in calls)
    assert len(calls) <= allowed
    assert len(answered) <= allowed
    for call in calls:
        framing = [name.lower() for name, _ in call.headers if name.lower() in FRAMING]
        assert len(framing) <= 1
        assert not any(
            byte < 0x20 or byte == 0x7F for byte in call.head.replace(b"\r\n", b"").replace(b"\t", b"")
        )
    assert ask(world.port, request(target=b"/v1/models/honest")).status == 200


def test_malformed_connections_leave_nothing_behind(world):
    """A flood of broken requests holds no descriptor, no connection and no memory."""
    ask(world.port, request())
    before = world.daemon.open_files()
    for name, raw, _ in CASES[:100]:
        with Client(world.port) as client:
            client.send(raw)
            assert client.response(BOUND_S).status != 200, name
    assert eventually(lambda: world.daemon.open_files() <= before + 4)


def test_unfinished_requests_are_ended_by_time(world):
    """A client that never finishes its request gets a 408, or nothing if it sent nothing."""
    raws = [raw for name, raw, _ in CASES if name.startswith(("head without an end", "one byte"))]
    clients = [Client(world.port) for _ in range(len(raws) + 1)]
    for client, raw in zip(clients, [*raws, b""], strict=True):
        client.send(raw)
    answers = [client.response(BOUND_S) for client in clients]
    assert [answer.status for answer in answers] == [*[408] * len(raws), None]
    assert {client.end for client in clients if not client.rest()} == {"fin"}
    for client in clients:
        client.close()
