#!/usr/bin/env python3
"""Trace one exchange through the daemon: the rooms and folders that it enters, and its stays in them.

    .venv/bin/python scripts/trace_exchange.py             # what was counted
    .venv/bin/python scripts/trace_exchange.py --calls     # every stay, with the functions that were called
    .venv/bin/python scripts/trace_exchange.py --write     # draw it into docs/explain/life-of-a-request.md

A daemon, an upstream and a client run in this process, over real sockets on loopback. After some exchanges that warm it
up, one more is traced with `sys.setprofile` in the reactor's thread. A room is a folder of `openai_proxy/`, as in
`draw_rooms.py`; a stay in one is a run of calls that no call into another room interrupts. The same is counted for
folders inside rooms. Calls into libraries do not count.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import openai_proxy
from openai_proxy.daemon.service import ProxyService
from openai_proxy.settings import load_settings

PACKAGE = Path(openai_proxy.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "explain" / "life-of-a-request.md"

CONFIGURATIONS = {
    "plain": 'observers = ["none"]',
    "limits and log": """
        observers = ["none", "exchange-log:dir={directory}/exchanges"]
        [rate_limit]
        requests_per_minute = 1000
        tokens_per_minute = 1000000
        concurrent_requests = 10
    """,
}
"""The configurations that are traced: one without optional features, and one with limits and the exchange log. Neither has a text observer, whose lines would be mixed with this script's."""

GROUND = ("exchange", "wire")
"""The lowest rooms: records and pure functions, which every room calls and which call no other."""
_COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
PASSES_ON = ("policies/chains.py", "forward")
"""What chooses the chain of stages for a request."""

BODY = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'
ANSWER = (
    b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "choices": [{"index": 0, '
    b'"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}}'
)
WARM = 20
"""Exchanges before those that are traced."""
TRACED = 7
"""The number of exchanges, of which the most frequent trace counts: one with a timer in it does not."""


class Call(NamedTuple):
    """A call into the package."""

    file: str
    """Its path below the package."""
    function: str

    @property
    def folder(self) -> str:
        """The folder of the file; "(root)" if it has none."""
        return str(Path(self.file).parent) if "/" in self.file else "(root)"

    @property
    def room(self) -> str:
        """The folder of the package that the file is in or below."""
        return self.folder.partition("/")[0]


def _folder(call: Call) -> str:
    return call.folder


def _room(call: Call) -> str:
    return call.room


class Stay(NamedTuple):
    """Consecutive calls inside one room or folder."""

    place: str
    calls: tuple[Call, ...]


def stays_of(calls: Iterable[Call], place: Callable[[Call], str] = _room) -> list[Stay]:
    """Return the stays that `calls` consist of; `place` returns the room of a call, or its folder."""
    return [Stay(where, tuple(run)) for where, run in groupby(calls, key=place)]


def stations_of(calls: Iterable[Call]) -> list[Stay]:
    """Return the stays in folders, without the ground and without what chooses the chain: what a reader has to follow."""
    return stays_of((call for call in calls if call.room not in GROUND and call[:2] != PASSES_ON), _folder)


class _Upstream(socketserver.StreamRequestHandler):
    """An API that answers every request with the same completion, on kept connections."""

    def handle(self) -> None:
        number = 0
        while _message(self.rfile) is not None:
            number += 1
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_%d\r\nContent-Length: %d\r\n\r\n"
            self.wfile.write(head % (number, len(ANSWER)) + ANSWER)


class _UpstreamServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _message(stream: Any) -> bytes | None:
    """Read a message with Content-Length from `stream`; return its body, None at the end of the stream."""
    length = 0
    try:
        line = stream.readline()
    except ConnectionResetError:  # the daemon resets its idle connections when it stops
        return None
    if not line:
        return None
    while line not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
        line = stream.readline()
    return bytes(stream.read(length))


class _Tracer:
    """Notes the calls into the package in the thread that it is started in."""

    def __init__(self) -> None:
        self.exchanges: list[list[Call]] = []
        self._prefix = str(PACKAGE) + "/"

    def start(self) -> None:
        self.exchanges.append([])
        sys.setprofile(self._note)

    def stop(self) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        # comprehensions are calls in some versions of Python only
        if (
            event == "call"
            and code.co_name not in _COMPREHENSIONS
            and code.co_filename.startswith(self._prefix)
        ):
            self.exchanges[-1].append(Call(code.co_filename[len(self._prefix) :], code.co_name))


def traced(configuration: str) -> list[Call]:
    """Return the calls of a usual warm exchange under `configuration` (TOML).

    Runs the reactor, which runs once in a process.
    """
    tracer = _Tracer()
    run_traced(configuration, tracer)
    return _usual(tracer.exchanges)


class Tracer(Protocol):
    """Looks at what the thread does that starts and stops it, for one exchange at a time."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def run_traced(configuration: str, tracer: Tracer) -> None:
    """Run a daemon under `configuration` (TOML), and some exchanges through it; `tracer` sees the last ones."""
    from twisted.internet import reactor  # type: ignore[attr-defined]

    failures: list[BaseException] = []
    with tempfile.TemporaryDirectory() as directory, _UpstreamServer(("127.0.0.1", 0), _Upstream) as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        base_url = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
        service = _service(reactor, Path(directory), configuration, base_url)

        def client() -> None:
            try:
                _talk(service, lambda act: _in_reactor(reactor, act), tracer)
            except BaseException as error:
                failures.append(error)
            finally:
                reactor.callFromThread(reactor.stop)

        reactor.callWhenRunning(lambda: threading.Thread(target=client, daemon=True).start())
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        service.privilegedStartService()
        service.startService()
        reactor.run(installSignalHandlers=False)
        upstream.shutdown()
    if failures:
        raise failures[0]


def _usual(exchanges: list[list[Call]]) -> list[Call]:
    """Return the exchange that enters the same files in the same order as most."""

    def shape(calls: list[Call]) -> tuple[str, ...]:
        return tuple(file for file, _ in groupby(call.file for call in calls))

    usual, _ = Counter(map(shape, exchanges)).most_common(1)[0]
    return next(calls for calls in exchanges if shape(calls) == usual)


def _service(reactor: Any, directory: Path, configuration: str, base_url: str) -> ProxyService:
    file = directory / "openai-proxy.toml"
    configuration = configuration.replace("{directory}", str(directory))
    file.write_text(
        f'ports = ["tcp:0:interface=127.0.0.1"]\n{configuration}\n[upstream]\nbase_url = "{base_url}"\n',
        encoding="utf-8",
    )
    settings = load_settings({"config": str(file)}, {}, directory)
    return ProxyService(reactor, settings, lambda: settings)


def _in_reactor(reactor: Any, act: Callable[[], Any]) -> None:
    """Run `act` in the reactor's thread and wait for it."""
    done = threading.Event()
    reactor.callFromThread(lambda: (act(), done.set()))
    if not done.wait(30):
        raise TimeoutError("the reactor does not answer")


def _talk(service: ProxyService, run: Callable[[Callable[[], Any]], None], tracer: Tracer) -> None:
    """Send the exchanges over one connection, and trace the last ones."""
    port = next(iter(service.serving.site.ports)).getHost().port
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer sk-%d\r\n"
        b"traceparent: 00-%032x-%016x-01\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        stream = connection.makefile("rb")
        for number in range(1, WARM + TRACED + 1):
            traces = number > WARM
            if traces:
                run(tracer.start)
            connection.sendall(request % (port, 1, number, number, len(BODY), BODY))
            if _message(stream) != ANSWER:
                raise RuntimeError("the proxy did not pass the answer on")
            for _ in range(3):  # what is put off to the next turns belongs to the exchange
                run(lambda: None)
            if traces:
                run(tracer.stop)


def measured(name: str) -> list[Call]:
    """Return the calls of an exchange under the configuration `name`, traced in a process of its own."""
    command = [sys.executable, __file__, "--raw", name]
    # not under a coverage tool or another profiler of the caller
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Call(*each) for each in json.loads(done.stdout.splitlines()[-1])]


def counts(calls: list[Call]) -> dict[str, int]:
    """Return the numbers of an exchange, each with its name."""
    rooms, folders = stays_of(calls), stays_of(calls, _folder)
    return {
        "rooms": len({stay.place for stay in rooms}),
        "stays in rooms": len(rooms),
        "folders": len({stay.place for stay in folders}),
        "stays in folders": len(folders),
        "stations": len(stations_of(calls)),
    }


def drawing() -> str:
    """Return the part of the document between its markers."""
    traces = {name: measured(name) for name in CONFIGURATIONS}
    columns = counts([])
    lines = [f"| exchange | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, calls in traces.items():
        lines.append(f"| {name} | {' | '.join(map(str, counts(calls).values()))} |")
    for name, calls in traces.items():
        lines += ["", f'The stations of the exchange "{name}":', "", *_sequence(stations_of(calls))]
    return "\n".join(lines)


def _sequence(stations: list[Stay]) -> list[str]:
    """Return a mermaid drawing: a column for each room in the order of the first stay, an arrow for each stay."""
    lines = ["```mermaid", "sequenceDiagram", "    autonumber", "    participant socket"]
    lines += [f"    participant {place}" for place in dict.fromkeys(stay.place for stay in stations)]
    before = "socket"
    for stay in stations:
        files = dict.fromkeys(Path(call.file).stem for call in stay.calls)
        lines.append(f"    {before}->>{stay.place}: {', '.join(files)}")
        before = stay.place
    return [*lines, "```"]


def redrawn(document: str) -> str:
    """Return the document with the drawings made anew; ValueError if its markers are missing."""
    drawn = drawing()
    text, count = re.subn(
        r"(<!-- trace -->\n).*?(\n<!-- /trace -->)", lambda m: m[1] + drawn + m[2], document, flags=re.S
    )
    if count != 1:
        raise ValueError(f"{DOCUMENT.name} must have one '<!-- trace -->' with its end, not {count}")
    return text


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Trace one exchange through the daemon.")
    parser.add_argument("--calls", action="store_true", help="print every stay with its calls")
    parser.add_argument("--write", action="store_true", help=f"draw the traces into {DOCUMENT.name}")
    parser.add_argument("--raw", choices=CONFIGURATIONS, help="print the calls of one exchange as JSON")
    chosen = parser.parse_args()
    if chosen.raw:
        print(json.dumps(traced(CONFIGURATIONS[chosen.raw])))
        return
    if chosen.write:
        DOCUMENT.write_text(redrawn(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
        return
    for name in CONFIGURATIONS:
        calls = measured(name)
        print(f"{name}: {', '.join(f'{number} {what}' for what, number in counts(calls).items())}")
        for stay in stays_of(calls, _folder) if chosen.calls else ():
            called = [f"{Path(call.file).stem}.{call.function}" for call in stay.calls]
            print(f"  {stay.place}: {', '.join(called)}")


if __name__ == "__main__":
    main()
