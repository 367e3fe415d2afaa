"""An upload that the upstream stops taking: it holds nobody for ever, and its client may leave."""

import contextlib
import threading

import pytest
from world.client import Client
from world.requests import request
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually

LIMIT_S = 10.0
"""A second is promised; the rest is for a busy machine."""


@pytest.fixture
def stuck(start):
    """Start a daemon with an upload on its way that stands still: (world, client)."""
    done, clients = threading.Event(), []

    def started(**options):
        world = start(Upstream(receive_buffer=4096), **options)
        world.upstream.begin(lambda call: done.wait(2 * PATIENCE_S) and call.finish())
        client = Client(world.port)
        clients.append(client)
        client.send(request(b"POST", b"/v1/files", headers=b"Content-Length: 100000000\r\n"))
        client.sock.settimeout(1.0)
        with contextlib.suppress(OSError):
            while True:  # until nobody takes anything for a while
                client.sock.send(b"x" * 1_000_000)
        return world, client

    yield started
    done.set()
    for client in clients:
        client.close()


def test_an_upload_nobody_takes_ends_in_a_504(stuck):
    """The idle time holds for the request's body as it does for the answer's."""
    _, client = stuck(env={"TIMEOUT_S__IDLE": "3"})
    answer = client.response()
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")


def test_client_resets_an_upload_that_the_upstream_does_not_read(stuck):
    """Bytes that wait to be sent do not keep the upstream's connection: its record ends within a second."""
    world, client = stuck()
    client.reset()
    # the daemon ends the exchange only when it notices; the upstream's socket follows at once
    assert eventually(lambda: "client_gone" in world.daemon.log, LIMIT_S)
