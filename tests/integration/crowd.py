"""Clients that ask all the time, each request with a number of its own, whatever becomes of the daemon."""

from __future__ import annotations

import json
import threading
from typing import Any

from integration.raw_client import Client, chat
from integration.scripted_upstream import PATIENCE_S


class Crowd:
    """A few threads; `answered` holds the numbers of requests whose whole answer came."""

    def __init__(self, port: int, clients: int = 4, per_second: float = 60.0) -> None:
        self.port = port
        self.answered: list[int] = []
        self._asked = 0
        self._pause_s = clients / per_second
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)

    def _ask(self) -> None:
        client = None
        while not self._over.wait(self._pause_s):
            with self._lock:
                self._asked += 1
                number = self._asked
            try:
                client = client or Client(self.port)
                client.send(numbered(number))
                response = client.response()
            except OSError:
                continue
            if response.whole and response.status == 200:
                with self._lock:
                    self.answered.append(number)
            else:
                client.close()
                client = None
        if client is not None:
            client.close()


def numbered(number: int) -> bytes:
    """Return a request that the log's line tells the number of."""
    message = {"role": "user", "content": str(number)}
    return chat(json.dumps({"model": f"m{number % 3}", "messages": [message]}).encode())


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the requests that lines of the exchange log are of."""
    return [int(line["request"]["body"]["messages"][0]["content"]) for line in lines]
