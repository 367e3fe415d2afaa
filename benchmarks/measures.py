"""Single measurements: each takes a running server and returns numbers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from contestants import LOAD_CORE, Running, on_core

CONNECTIONS = 64
EVENTS_PER_STREAM = 100
PATH = "/v1/chat/completions"
WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = '{"model":"m","stream":STREAM,"messages":[{"role":"user","content":"' .. string.rep("x", 545) .. '"}]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-benchmark"
"""
MIB = 1 << 20
CALM, TRIES = 0.1, 4


@dataclass(frozen=True)
class Throughput:
    """One load: requests a second, and the server's CPU microseconds for one.

    The second hardly depends on what else the machine does, the first does.
    """

    per_s: float
    cpu_us: float


def throughput(server: Running, work: Path, seconds: float, query: str = "") -> Throughput:
    """Load `server` with wrk over 64 connections; raises when anything but 200 came back.

    Measured again, up to TRIES times, while a hypervisor gives more than
    CALM of the processors' time to others; the calmest counts.
    """
    tries: list[tuple[float, Throughput]] = []
    while not tries or (tries[-1][0] > CALM and len(tries) < TRIES):
        before = _ticks()
        one = _load(server, work, seconds, query)
        taken, total = (after - ago for after, ago in zip(_ticks(), before, strict=True))
        tries.append((taken / total, one))
    return min(tries, key=lambda each: each[0])[1]


def _ticks() -> tuple[int, int]:
    """Return what the hypervisor gave to others so far, and all time of all processors."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[7], sum(fields)


def _load(server: Running, work: Path, seconds: float, query: str) -> Throughput:
    script = work / "post.lua"
    script.write_text(WRK_SCRIPT.replace("STREAM", "true" if "flat" in query else "false"))
    url = server.origin + PATH + query
    argv = [*on_core(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(script), url]
    cpu_s = server.cpu_s()
    out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    cpu_s = server.cpu_s() - cpu_s
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{server.name}: {out}")
    count = int(re.search(r"(\d+) requests in", out)[1])
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    return Throughput(per_s, cpu_s / max(count, 1) * 1e6)


def paced(server: Running, work: Path, streams: int, seconds: float) -> dict[str, float]:
    """Run `streams` streams of 20 events/s; microseconds per event and to the first byte."""
    gap_us = 5300 if streams > 100 else 10300  # no multiple of the pace: the streams' phases spread
    argv = [str(work / "streams"), str(server.port), str(streams), str(gap_us), f"paced={int(seconds * 20)}"]
    done = subprocess.run([*on_core(LOAD_CORE), *argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{server.name}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def kib_per_idle_stream(server: Running, work: Path, streams: int) -> float:
    """Open `streams` streams that then say nothing; resident KiB of the server for each."""
    before = server.rss_kib()
    argv = [
        *on_core(LOAD_CORE),
        str(work / "streams"),
        str(server.port),
        str(streams),
        "1000",
        "idle",
        "hold",
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        answer = json.loads(client.stdout.readline())
        time.sleep(1)
        grown = server.rss_kib() - before
        client.stdin.close()
    if answer["failed"]:
        raise RuntimeError(f"{server.name}: {answer}")
    return grown / streams


class MemoryWatch:
    """Samples a server's memory and its files while a transfer runs.

    After the block: `grown_mib` is the largest growth of its resident memory, `files` the
    names seen in its TMPDIR and of deleted files that it held open.
    """

    def __init__(self, server: Running, work: Path) -> None:
        self.server, self.tmp = server, work / "tmp"
        self.peak_kib = self.base_kib = server.rss_kib()
        self.files: set[str] = set()
        self.done = threading.Event()

    def __enter__(self) -> MemoryWatch:
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def sample(self) -> None:
        while not self.done.wait(0.05):
            self.peak_kib = max(self.peak_kib, self.server.rss_kib())
            self.files.update(path.name for path in self.tmp.rglob("*") if path.is_file())
            for link in Path(f"/proc/{self.server.process.pid}/fd").iterdir():
                try:
                    target = os.readlink(link)
                except OSError:
                    continue
                if target.endswith("(deleted)"):
                    self.files.add(target)

    @property
    def grown_mib(self) -> float:
        return (self.peak_kib - self.base_kib) / 1024


def read_head(connection: socket.socket) -> bytes:
    """Read a response's head; return what was read of its body too."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise RuntimeError(f"closed before the end of a head: {data[:200]!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"{head[:300]!r} {rest[:300]!r}")
    return rest


def upload(server: Running, size_bytes: int, stall_s: int) -> None:
    """Send a multipart file; with `stall_s` the upstream stops reading for so long after 1 MiB."""
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    end = b"\r\n--b--\r\n"
    query = f"?stall={stall_s}" if stall_s else ""
    head = (
        f"POST /v1/files{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-benchmark\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(start) + size_bytes + len(end)}\r\n\r\n"
    )
    block = bytes(MIB)
    with socket.create_connection(("127.0.0.1", server.port), 120) as connection:
        connection.sendall(head.encode() + start)
        for _ in range(size_bytes // MIB):
            connection.sendall(block)
        connection.sendall(end)
        read_head(connection)


def download(server: Running, size_bytes: int, stall_s: int) -> None:
    """Read a file's content; with `stall_s` stop reading for so long after 1 MiB."""
    head = (
        f"GET /v1/files/f/content?download={size_bytes} HTTP/1.1\r\nHost: localhost\r\n"
        "Authorization: Bearer sk-benchmark\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 120) as connection:
        connection.sendall(head.encode())
        got = len(read_head(connection))
        buffer = bytearray(MIB)
        stalled = not stall_s
        while got < size_bytes:
            if not stalled and got >= MIB:
                time.sleep(stall_s)
                stalled = True
            count = connection.recv_into(buffer)
            if not count:
                raise RuntimeError(f"{server.name}: cut at {got} of {size_bytes} bytes")
            got += count


def transfer(
    server: Running, work: Path, what: str, size_bytes: int, stall_s: int
) -> tuple[float, float, set[str]]:
    """Run one transfer; MiB the server's memory grew by, MiB/s, files it wrote."""
    begun = time.monotonic()
    with MemoryWatch(server, work) as watch:
        (upload if what == "upload" else download)(server, size_bytes, stall_s)
    seconds = time.monotonic() - begun - stall_s
    return watch.grown_mib, size_bytes / MIB / seconds, watch.files
