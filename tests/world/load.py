"""Many clients at once, and clients that ask all the time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from world.client import Client, ask
from world.requests import chat
from world.waiting import PATIENCE_S

_T = TypeVar("_T")


def at_once(count: int, work: Callable[[int], _T], timeout_s: float = PATIENCE_S) -> list[_T]:
    """Run `work(number)` in `count` threads; the results in order, the first failure raised."""
    results: dict[int, Any] = {}
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    if failures:
        raise failures[0]
    return [results[number] for number in range(count)]


class Load:
    """Clients that send one request after the other as long as this is entered, each on a new connection.

    `counts` are the answers that each client had, `failed` those that were no 200.
    """

    def __init__(self, port: int, raw: bytes, clients: int, pause_s: float) -> None:
        self.counts = [0] * clients
        self.failed: list[tuple[int | None, bytes]] = []
        self._port, self._raw, self._pause_s = port, raw, pause_s
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def _ask(self, number: int) -> None:
        while not self._over.wait(self._pause_s):
            got = ask(self._port, self._raw)
            self.counts[number] += 1
            if got.status != 200:
                self.failed.append((got.status, got.body))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)


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
    """Return a request whose log line has its number."""
    message = {"role": "user", "content": str(number)}
    return chat(json.dumps({"model": f"m{number % 3}", "messages": [message]}).encode())


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the requests that lines of the exchange log are of."""
    return [int(line["request"]["body"]["messages"][0]["content"]) for line in lines]
