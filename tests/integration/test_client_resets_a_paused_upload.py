"""A client that resets its connection while nothing is read from it is noticed."""

import contextlib
import threading

from integration.raw_client import Client, request
from integration.scripted_upstream import Upstream, eventually

LIMIT_S = 4.0
"""A second is promised; the rest is for a busy machine."""


def test_client_resets_an_upload_that_the_upstream_does_not_read(start):
    """Bytes that wait to be sent do not keep the upstream's connection: its record ends within a second."""
    pair = start(Upstream(receive_buffer=4096))
    done = threading.Event()
    pair.upstream.begin(lambda call: done.wait(20) and call.finish())
    client = Client(pair.port)
    client.send(request(b"POST", b"/v1/files", headers=b"Content-Length: 100000000\r\n"))
    client.sock.settimeout(0.3)
    with contextlib.suppress(OSError):
        client.sock.sendall(b"x" * 50_000_000)
    client.reset()
    # the daemon ends the exchange only when it notices; the upstream's socket follows at once
    assert eventually(lambda: "client_gone" in pair.daemon.log, LIMIT_S)
    done.set()
