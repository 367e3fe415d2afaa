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
-- Requests as the SDKs for Python and for Node send them, in turn: each has a `traceparent` and a length of its own, from
-- 200 bytes to 20 KB, and one in 250 holds an image of 400 KB. They are written out here, for wrk.format is slow.
local bodies, image, count, seed = {}, nil, 0, SEED
local function body(size, part)
    local text = string.rep("x", size - 120)
    return '{"messages":[{"role":"user","content":' .. string.format(part, text) .. '}],"model":"gpt-4o-mini","stream":STREAM}'
end
local function message(kind, data)
    local lines
    if kind == 0 then
        lines = "Accept-Encoding: gzip, deflate\\r\\nConnection: keep-alive\\r\\nAccept: application/json\\r\\n" ..
            "Content-Type: application/json\\r\\nUser-Agent: OpenAI/Python 2.8.1\\r\\nX-Stainless-Lang: python\\r\\n" ..
            "X-Stainless-Package-Version: 2.8.1\\r\\nX-Stainless-OS: Linux\\r\\nX-Stainless-Arch: x64\\r\\n" ..
            "X-Stainless-Runtime: CPython\\r\\nX-Stainless-Runtime-Version: 3.12.1\\r\\nAuthorization: Bearer sk-benchmark\\r\\n" ..
            "X-Stainless-Async: false\\r\\nx-stainless-retry-count: 0\\r\\nx-stainless-read-timeout: 600\\r\\n"
    else
        lines = "accept: application/json\\r\\ncontent-type: application/json\\r\\nuser-agent: OpenAI/JS 6.9.1\\r\\n" ..
            "x-stainless-retry-count: 0\\r\\nx-stainless-lang: js\\r\\nx-stainless-package-version: 6.9.1\\r\\nx-stainless-os: Linux\\r\\n" ..
            "x-stainless-arch: x64\\r\\nx-stainless-runtime: node\\r\\nx-stainless-runtime-version: v22.11.0\\r\\n" ..
            "authorization: Bearer sk-benchmark\\r\\naccept-language: *\\r\\nsec-fetch-mode: cors\\r\\naccept-encoding: gzip, deflate\\r\\n"
    end
    return {"POST PATH HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n" .. lines .. "LINEStraceparent: 00-",
        "-01\\r\\nContent-Length: " .. #data .. "\\r\\n\\r\\n" .. data}
end
function init(args)
    for i = 1, 100 do
        bodies[i] = message(i % 2, body(200 * i, '"%s"'))
    end
    image = message(0, body(400000, '[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]'))
end
local function bits()
    seed = (seed * 16807) % 2147483647
    return seed
end
function request()
    count = count + 1
    local parts = count % 250 == 0 and image or bodies[(count * 37) % 100 + 1]
    local trace = string.format("%08x%08x%08x%08x-%08x%08x", bits(), bits(), bits(), bits(), bits(), bits())
    return parts[1] .. trace .. parts[2]
end
"""
MIB = 1 << 20
CALM, TRIES = 0.1, 4


@dataclass(frozen=True)
class Throughput:
    """One load: the server's CPU microseconds for a request, requests a second, and how long one took.

    The first hardly depends on what else the machine does, the others do.
    """

    cpu_us: float
    per_s: float
    p50_ms: float
    p99_ms: float


def throughput(server: Running, work: Path, seconds: float, query: str = "", lines: str = "") -> Throughput:
    """Load `server` with wrk over 64 connections; raises when anything but 200 came back.

    `lines` are added to the head of every request, each with its line end.

    Measured again, up to TRIES times, while a hypervisor gives more than
    CALM of the processors' time to others; the calmest counts.
    """
    tries: list[tuple[float, Throughput]] = []
    while not tries or (tries[-1][0] > CALM and len(tries) < TRIES):
        before = _ticks()
        one = _load(server, work, seconds, query, lines)
        taken, total = (after - ago for after, ago in zip(_ticks(), before, strict=True))
        tries.append((taken / total, one))
    return min(tries, key=lambda each: each[0])[1]


def _ticks() -> tuple[int, int]:
    """Return what the hypervisor gave to others so far, and all time of all processors."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[7], sum(fields)


def _load(server: Running, work: Path, seconds: float, query: str, lines: str) -> Throughput:
    script = work / "post.lua"
    streamed = "true" if query.startswith(("?flat", "?split")) else "false"
    script.write_text(
        WRK_SCRIPT.replace("STREAM", streamed)
        .replace("LINES", lines.replace("\r\n", "\\r\\n"))
        .replace("PATH", PATH + query)
        .replace("SEED", str(time.time_ns() % 10**9 + 1))
    )
    url = server.origin + PATH + query
    options = [f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "--timeout", "30s", "-s", str(script)]
    argv = [*on_core(LOAD_CORE), "wrk", "-t1", *options, url]
    cpu_s = server.cpu_s()
    out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    cpu_s = server.cpu_s() - cpu_s
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{server.name}: {out}")
    count = int(re.search(r"(\d+) requests in", out)[1])
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    p50_ms, p99_ms = (_milliseconds(out, share) for share in ("50%", "99%"))
    return Throughput(cpu_s / max(count, 1) * 1e6, per_s, p50_ms, p99_ms)


def _milliseconds(out: str, share: str) -> float:
    """Return a percentile of wrk's latencies."""
    found = re.search(rf"^\s+{share}\s+([\d.]+)(us|ms|s)\s*$", out, re.M)
    if found is None:
        raise RuntimeError(f"no request was answered in time: {out}")
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def paced(server: Running, work: Path, streams: int, seconds: float, slow: bool = False) -> dict[str, float]:
    """Run `streams` streams of 20 events/s, or 2 if `slow`; microseconds per event and to the first byte."""
    query = f"slow={int(seconds * 2)}" if slow else f"paced={int(seconds * 20)}"
    # No multiple of the pace: phases spread. Slow ones are opened twice as fast as if each lasted eight seconds.
    gap_us = 2100 if slow else 5300 if streams > 100 else 10300
    return _streams(server, work, streams, gap_us, query)


def burst(server: Running, work: Path, clients: int) -> dict[str, float]:
    """Let `clients` connect in one moment, each for a stream of 100 events; as `paced`."""
    return _streams(server, work, clients, 0, "flat=10")


def _streams(server: Running, work: Path, streams: int, gap_us: int, query: str) -> dict[str, float]:
    argv = [str(work / "streams"), str(server.port), str(streams), str(gap_us), query]
    done = subprocess.run([*on_core(LOAD_CORE), *argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{server.name}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def kib_per_idle_stream(server: Running, work: Path, streams: int, gap_us: int) -> float:
    """Open `streams` streams that then say nothing, one each `gap_us`; resident KiB of the server for each."""
    before = server.rss_kib()
    argv = [
        *on_core(LOAD_CORE),
        str(work / "streams"),
        str(server.port),
        str(streams),
        str(gap_us),
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
    """Send a multipart file; with `stall_s` the upstream stops reading for that time after 1 MiB."""
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
    """Read a file's content; with `stall_s` stop reading for that time after 1 MiB."""
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
