"""Measure the CPU that a daemon takes for an exchange whose heads change, as real ones do.

    python benchmarks/changing.py TWISTD [TWISTD ...] [--rounds N] [--requests N] [--tls] [--events N]
                                  [--identical] [--features]

Each TWISTD is the twistd of an environment with a version of the proxy in it;
rounds alternate between them, and the table has medians and ratios to the
first. An answer has OpenAI's 22 header lines, of which nine change; a request
has what the Python SDK sends, a `traceparent` of its own and a length of its
own. `--identical` sends and answers the same every time; `--features` turns
on keys, limits, metrics and the exchange log; `--tls` gives the upstream TLS, as every
user's is; with `--events N` an answer is a stream of N events, each in a write of its own, and
the figure is that of an event. Rates mean nothing here: the
client and the upstream are Python too. What counts is the daemon's own CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONNECTIONS = 8
KEY = "sk-proxy-benchmark"
_bits = random.Random(1)


def _hex(digits: int) -> str:
    return f"{_bits.getrandbits(4 * digits):0{digits}x}"


def request(number: int, identical: bool) -> bytes:
    """Return one chat request; lengths run from 200 bytes to about 20 KB."""
    size = 200 if identical else 200 * (1 + number % 100)
    content = "word " * (size // 5)
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}).encode()
    trace = "0" * 32 if identical else _hex(32)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip, deflate\r\n"
        "Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 2.8.1\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.8.1\r\n"
        "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        f"X-Stainless-Runtime-Version: 3.12.1\r\nAuthorization: Bearer {KEY}\r\nX-Stainless-Async: false\r\n"
        "x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n"
        f"traceparent: 00-{trace}-{'0' * 16 if identical else _hex(16)}-01\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer(number: int, identical: bool) -> bytes:
    """Return one answer with the lines that OpenAI sends."""

    def of(digits: int) -> str:
        return "0" * digits if identical else _hex(digits)

    left = 0 if identical else number
    usage = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
    message = {"role": "assistant", "content": "Hello! How can I help you today?"}
    body = json.dumps(
        {
            "id": f"chatcmpl-{of(24)}",
            "object": "chat.completion",
            "created": 1_790_000_000 + left,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    ).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 12:00:{left % 60:02d} GMT\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\naccess-control-expose-headers: X-Request-ID\r\n"
        f"openai-organization: org-x\r\nopenai-processing-ms: {300 + left % 500}\r\nopenai-project: proj_x\r\n"
        f"openai-version: 2020-10-01\r\nx-envoy-upstream-service-time: {310 + left % 500}\r\n"
        "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 200000\r\n"
        f"x-ratelimit-remaining-requests: {9999 - left % 1000}\r\n"
        f"x-ratelimit-remaining-tokens: {199_000 - left % 9000}\r\nx-ratelimit-reset-requests: 8.64s\r\n"
        f"x-ratelimit-reset-tokens: {left % 60}ms\r\nx-request-id: req_{of(32)}\r\nCF-Cache-Status: DYNAMIC\r\n"
        f"Set-Cookie: __cf_bm={of(64)}; path=/; HttpOnly\r\nX-Content-Type-Options: nosniff\r\nServer: cloudflare\r\n"
        f'CF-RAY: {of(16)}-FRA\r\nalt-svc: h3=":443"; ma=86400\r\n\r\n'
    )
    return head.encode() + body


def event(number: int) -> bytes:
    """Return one event of a stream as OpenAI sends it: of a length of its own, with `obfuscation`."""
    delta = {"content": "token "[: 1 + number % 6]}
    data = json.dumps(
        {
            "id": "chatcmpl-AAAAAAAAAAAAAAAAAAAAAAAA",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_0123456789",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}],
            "usage": None,
            "obfuscation": _hex(8 + number % 8),
        },
        separators=(",", ":"),
    ).encode()
    return b"data: " + data + b"\n\n"


async def _stream(writer: asyncio.StreamWriter, number: int, events: int) -> None:
    head = answer(number, False).partition(b"\r\n\r\n")[0]
    lines = [
        line for line in head.split(b"\r\n") if not line.startswith((b"Content-Length", b"Content-Type"))
    ]
    lines += [b"Content-Type: text/event-stream; charset=utf-8", b"Transfer-Encoding: chunked"]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    for each in range(events):
        data = event(each)
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"0\r\n\r\n")


async def _serve(identical: bool, events: int, secure: ssl.SSLContext | None) -> asyncio.Server:
    count = iter(range(1 << 30))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                if events:
                    await _stream(writer, next(count), events)
                else:
                    writer.write(answer(next(count), identical))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()  # also at the end, when the loop stops

    return await asyncio.start_server(talk, "127.0.0.1", 0, ssl=secure)


async def _ask(port: int, messages: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    for message in messages:
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the daemon answered {head[:200]!r}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if length:
            await reader.readexactly(int(length))
        else:
            await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def daemon(twistd: str, upstream: str, features: bool, ca_file: str | None) -> Iterator[tuple[int, int]]:
    """Run a daemon; yields its process id and its port."""
    with tempfile.TemporaryDirectory() as folder:
        command = [twistd, "-n", "--pidfile=", "openai-proxy", "--port", "tcp:0:interface=127.0.0.1"]
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": "",
            "UPSTREAM__BASE_URL": f"{upstream}/v1",
        }
        if ca_file:
            environment["UPSTREAM__CA_FILE"] = ca_file
        if features:
            digest = hashlib.sha256(KEY.encode()).hexdigest()
            Path(folder, "c.toml").write_text(
                f'[upstream]\napi_key = "sk-up"\n[rate_limit]\nrequests_per_minute = 100000000\n'
                f'tokens_per_minute = 1000000000\n[[keys]]\nname = "a"\nkey_sha256 = "{digest}"\n'
            )
            command += ["--config", "c.toml", "-o", f"exchange-log:dir={folder}/logs", "-o", "prometheus"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "listening on http://127.0.0.1:" in line:
                    yield process.pid, int(line.rstrip().rpartition(":")[2])
                    break
            else:
                raise SystemExit(f"{twistd} did not start")
        finally:
            process.kill()
            process.wait()


def _secured(folder: str) -> tuple[ssl.SSLContext, str]:
    """Return the upstream's context, and the file of the authority that its certificate is of."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = str(Path(folder, "ca.pem"))
    authority.cert_pem.write_to_path(ca_file)
    return context, ca_file


async def _measure(options: argparse.Namespace, folder: str) -> dict[str, list[float]]:
    secure, ca_file = _secured(folder) if options.tls else (None, None)
    server = await _serve(options.identical, options.events, secure)
    port = server.sockets[0].getsockname()[1]
    upstream = f"https://localhost:{port}" if secure else f"http://127.0.0.1:{port}"
    found: dict[str, list[float]] = {twistd: [] for twistd in options.twistd}
    share = options.requests // CONNECTIONS
    for _ in range(options.rounds):
        for twistd in options.twistd:
            with daemon(twistd, upstream, options.features, ca_file) as (pid, port):
                messages = [request(number, options.identical) for number in range(share * CONNECTIONS)]
                await _ask(port, messages[:200])
                before = _cpu_s(pid)
                parts = [messages[at::CONNECTIONS] for at in range(CONNECTIONS)]
                await asyncio.gather(*(_ask(port, part) for part in parts))
                units = len(messages) * (options.events or 1)
                found[twistd].append((_cpu_s(pid) - before) / units * 1e6)
    server.close()
    return found


def main() -> None:
    """Print the median of CPU microseconds per exchange, or event, of each daemon, and its ratio to the first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("twistd", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--identical", action="store_true")
    parser.add_argument("--features", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--events", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_measure(options, folder))
    first = statistics.median(found[options.twistd[0]])
    for twistd, values in found.items():
        middle = statistics.median(values)
        print(
            f"{middle:7.1f} µs an {'event' if options.events else 'exchange'}, {first / middle:5.2f} times the first's  {twistd}"
        )
    print(f"{options.rounds} rounds of {options.requests} exchanges in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
