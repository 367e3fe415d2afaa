#!/usr/bin/env python3
"""1,800 mixed requests through nginx, through HAProxy and directly: every answer must be right.

    .venv/bin/python tests/conformance/outside_run.py [REQUESTS] [SEED]

JSON, streams, forms, SDP, uploads up to 100 MB, downloads and WebSockets,
with two workers, cache, exchange log, think removal and limits, to an
upstream with TLS that closes a tenth of its connections right after an
answer. Needs nginx and haproxy. About two minutes; prints the figures and
exits with 1 if an answer was wrong.
"""

from __future__ import annotations

import collections
import gzip
import json
import random
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

import trustme

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fronts import Front
from mixed_upstream import THOUGHT, Recycler, completion, embedding, multipart, post, pseudo_random, receipt
from world.client import Client, Response
from world.daemon import Daemon
from world.exchange_lines import exchange_lines
from world.requests import request
from world.upstream import Upstream
from world.waiting import eventually

KEYS = ("ann", "ben", "cid")
SETTINGS = """
[think]
mode = "strip"
[cache]
url = "memory:"
[rate_limit]
requests_per_minute = 1000000
concurrent_requests = 500
[websocket]
inspect = "never"   # what goes through them here is no WebSocket, so that any change would show
"""
THREADS = 4
"""Clients of each way to the daemon."""


class Wrong(Exception):
    """An answer was not what it must be."""


def expect(response: Response, body: bytes) -> None:
    """Complain unless it is a whole 200 with exactly this body."""
    if response.status != 200 or not response.whole or response.body != body:
        raise Wrong(f"{response.status} whole={response.whole} {response.end} {response.body[:300]!r}")


class Visitor:
    """One client: a connection that it keeps, and requests of every kind, each with a number of its own."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._client = Client(port)

    def close(self) -> None:
        self._client.close()

    def again(self) -> None:
        """Take a new connection: the last one may hold half an answer."""
        self._client.close()
        self._client = Client(self._port)

    def _ask(self, raw: bytes) -> Response:
        self._client.send(raw)
        return self._client.response()

    def chat(self, number: int, model: str = "gpt-4o", coded: bool = False, **members: object) -> None:
        word = f"w{number}"
        asked = {"model": model, "messages": [{"role": "user", "content": word}], **members}
        lines = [b"Accept-Encoding: gzip"] if coded else []
        kind = b"application/json"
        got = self._ask(post(b"/v1/chat/completions", kind, json.dumps(asked).encode(), self._key, *lines))
        if got.header(b"content-encoding") == b"gzip":
            got.body = gzip.decompress(got.body)
        if got.status == 200 and model.startswith("thinker"):
            got.body = json.dumps(json.loads(got.body)).encode()  # its spelling is ours to choose
        expect(got, json.dumps(completion(word, model, False)).encode())

    def thinker(self, number: int) -> None:
        self.chat(number, "thinker", coded=number % 2 == 0)

    def coded(self, number: int) -> None:
        self.chat(number, coded=True)

    def repeated(self, number: int) -> None:
        self.chat(number % 40, temperature=0, seed=1)

    def stream(self, number: int, model: str = "gpt-4o") -> None:
        word = f"w{number}"
        asked = {"model": model, "messages": [{"role": "user", "content": word}], "stream": True}
        got = self._ask(
            post(b"/v1/chat/completions", b"application/json", json.dumps(asked).encode(), self._key)
        )
        if got.status != 200 or not got.whole or not got.body.endswith(b"data: [DONE]\n\n"):
            raise Wrong(f"{got.status} whole={got.whole} {got.body[-300:]!r}")
        events = [json.loads(event[6:]) for event in got.body.split(b"\n\n")[:-2]]
        if any(not event["choices"] for event in events):
            raise Wrong("the usage chunk that the client did not ask for")
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        if text != completion(word, model, False)["choices"][0]["message"]["content"]:
            raise Wrong(f"text {text!r}")

    def thinking_stream(self, number: int) -> None:
        self.stream(number, "thinker")

    def embedding(self, number: int) -> None:
        word = f"e{number % 60}"
        asked = json.dumps({"model": "text-embedding-3-small", "input": word}).encode()
        got = self._ask(post(b"/v1/embeddings", b"application/json", asked, self._key))
        expect(got, embedding(word, "text-embedding-3-small"))

    def form(self, number: int, size: int = 0, path: bytes = b"/v1/audio/transcriptions") -> None:
        kind, body = multipart(number, size or 1 + number * 7919 % 200_000)
        got = self._ask(post(path, kind, body, self._key, chunked=number % 3 == 0))
        expect(got, receipt([body]))

    def sdp(self, number: int) -> None:
        body = b"v=%d" % number if number % 2 else b"v=0\r\n" * (number % 2000)
        got = self._ask(post(b"/v1/realtime/calls?model=gpt-realtime", b"application/sdp", body, self._key))
        expect(got, receipt([body]))

    def upload(self, number: int) -> None:
        self.form(number, 1_000_000 + number * 104_729 % 4_000_000, b"/v1/files")

    def large_upload(self, number: int) -> None:
        self.form(number, 100_000_000, b"/v1/files")

    def download(self, number: int) -> None:
        size = number * 15_485_863 % 2_000_000
        raw = request(b"GET", b"/v1/files/file-%d-%d/content" % (number, size))
        got = self._ask(raw.replace(b"sk-client-0123456789abcdef", self._key.encode()))
        expect(got, pseudo_random(number, size))

    def websocket(self, number: int) -> None:
        raw = request(
            target=b"/v1/realtime?model=gpt-realtime",
            headers=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        )
        with Client(self._port) as client:
            client.send(raw.replace(b"sk-client-0123456789abcdef", self._key.encode()))
            head = client.read_until(b"\r\n\r\n")
            if b" 101 " not in head:
                raise Wrong(f"handshake {head!r} {client.rest(1)!r}")
            for turn in range(4):
                frame = pseudo_random(number + turn, 1 + number * 31 % 60_000)
                client.send(frame)
                came = b""
                while len(came) < len(frame):
                    came += client.sock.recv(1 << 16)
                if came != frame:
                    raise Wrong("bytes of the tunnel")


MIX = (
    *("chat", "chat", "thinker", "coded", "repeated", "repeated", "stream", "stream", "thinking_stream"),
    *("embedding", "embedding", "form", "form", "sdp", "sdp", "download", "websocket"),
)


class Run:
    """All visitors of all ways; `done` counts by way and kind, `wrong` says what was not right."""

    def __init__(self, ways: dict[str, int], count: int, seed: int) -> None:
        self.done: collections.Counter[tuple[str, str]] = collections.Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        dice = random.Random(seed)
        names = [(way, dice.choice(MIX)) for way in ways for _ in range(count // len(ways))]
        for index, way in enumerate(ways):  # a few of the rare kinds on each way
            own = index * (count // len(ways))
            for at in range(10):
                names[own + 20 + 15 * at] = (way, "upload" if at else "large_upload")
        self._left = {way: [(i, kind) for i, (w, kind) in enumerate(names) if w == way] for way in ways}
        self._threads = [
            threading.Thread(target=self._visit, args=(way, port, KEYS[number % 3]))
            for way, port in ways.items()
            for number in range(THREADS)
        ]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _next(self, way: str) -> tuple[int, str] | None:
        with self._lock:
            return self._left[way].pop() if self._left[way] else None

    def _visit(self, way: str, port: int, key: str) -> None:
        visitor = Visitor(port, f"key-of-{key}")
        while (request := self._next(way)) is not None:
            number, kind = request
            try:
                getattr(visitor, kind)(number)
            except Exception as error:
                with self._lock:
                    self.wrong.append(f"{way} {kind} {number}: {error!r}")
                visitor.again()
            with self._lock:
                self.done[way, kind] += 1
        visitor.close()


def certificates(directory: Path) -> ssl.SSLContext:
    """Return the upstream's context, and leave its authority in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def faults(run: Run, daemon: Daemon, upstream: Upstream, count: int) -> list[str]:
    """Say what was not right when all is over."""
    found = list(run.wrong)
    directory = daemon.directory / "logs"
    eventually(lambda: len(exchange_lines(directory)) >= count, 20)
    lines = exchange_lines(directory)
    if not len(lines) == len({line["id"] for line in lines}) == count:
        found.append(f"{len(lines)} lines in the exchange log, {count} requests")
    if any(THOUGHT in file.read_text("utf-8") for file in directory.glob("*.jsonl")):
        found.append("a thought in the exchange log")
    outcomes = collections.Counter(line["outcome"] for line in lines)
    print("outcomes:", dict(outcomes))
    return [*found, *daemon.defects, *map(repr, upstream.errors)]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1800
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        upstream = Upstream(certificates(directory))
        upstream.script = recycler = Recycler(seed=seed)
        keys = "".join(f'[[keys]]\nname = "{who}"\nkey = "key-of-{who}"\n' for who in KEYS)
        (directory / "proxy.toml").write_text(SETTINGS + keys)
        daemon = Daemon(
            directory,
            upstream.url,
            ports=("tcp:0:interface=127.0.0.1", "haproxy:tcp:0:interface=127.0.0.1"),
            env={
                "OPENAI_API_KEY": "sk-up",
                "UPSTREAM__CA_FILE": str(directory / "ca.pem"),
                "RETRY__MAX_RETRIES": "3",
                "OBSERVERS": "console exchange-log:dir=logs",
                "WORKERS": "2",
            },
            options=("--config", str(directory / "proxy.toml")),
        )
        fronts: list[Front] = []
        try:
            direct, behind = (int(each.rpartition(":")[2]) for each in daemon.listening[:2])
            fronts = [Front("nginx", directory, direct), Front("haproxy", directory, behind)]
            ways = {"direct": direct, "nginx": fronts[0].port, "haproxy": fronts[1].port}
            run = Run(ways, count, seed)
            started = time.monotonic()
            run.run()
            print(f"{count} requests in {time.monotonic() - started:.0f} s, seed {seed}")
            print(f"upstream calls: {len(upstream.calls)}, connections recycled: {recycler.recycled}")
            found = faults(run, daemon, upstream, count)
        finally:
            for front in fronts:
                front.kill()
            daemon.stop()
            upstream.close()
        for kind in sorted({kind for _, kind in run.done}):
            print(f"  {kind}:", {way: run.done[way, kind] for way in ways})
        print(f"wrong: {len(found)}")
        for each in found[:20]:
            print(" ", each[:600])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
