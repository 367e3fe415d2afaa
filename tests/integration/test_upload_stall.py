"""An upstream that stops taking an upload does not hold its client for ever."""

import contextlib
import threading

from integration.raw_client import Client, request
from integration.scripted_upstream import Upstream


def test_an_upload_nobody_takes_ends_in_a_504(start):
    """The idle time holds for the request's body as it does for the answer's."""
    pair = start(Upstream(receive_buffer=4096), env={"TIMEOUT_S__IDLE": "1"})
    done = threading.Event()
    pair.upstream.begin(lambda call: done.wait(20) and call.finish())
    client = Client(pair.port)
    client.send(request(b"POST", b"/v1/files", headers=b"Content-Length: 100000000\r\n"))
    client.sock.settimeout(0.3)
    with contextlib.suppress(OSError):
        client.sock.sendall(b"x" * 50_000_000)
    answer = client.response()
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    client.close()
    done.set()
