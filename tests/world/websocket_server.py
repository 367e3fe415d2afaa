"""A WebSocket server that is not ours: the `websockets` library's, in threads."""

import contextlib
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

from .waiting import PATIENCE_S


class WebSocketServer:
    """A real WebSocket server that echoes; keeps the handshakes it saw."""

    def __init__(self):
        self.handshakes = []
        self.handler = self.echo
        self.closed = []
        self.answer = None
        self._server = serve(
            self.serve,
            "127.0.0.1",
            0,
            process_request=self.look,
            select_subprotocol=lambda _, offered: "realtime" if "realtime" in offered else None,
            compression=None,
            max_size=None,
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/v1"

    def look(self, connection, request):
        self.handshakes.append(request)
        return self.answer

    def serve(self, connection):
        with contextlib.suppress(ConnectionClosed):
            self.handler(connection)
        self.closed.append((time.monotonic(), connection.protocol.close_code))

    @staticmethod
    def echo(connection):
        for message in connection:
            connection.send(message)

    def close(self):
        self._server.shutdown()
        self._thread.join(PATIENCE_S)


def open_websocket(daemon, *, key, path, **options):
    """Connect to a daemon as any client does, without compression."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return connect(
        f"ws://127.0.0.1:{daemon.port}{path}",
        additional_headers=headers,
        compression=None,
        max_size=None,
        proxy=None,
        **options,
    )
