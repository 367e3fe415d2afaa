#!/usr/bin/env python3
"""Keep-alive comments in silent streams, as openai-python and openai-node see them.

    .venv/bin/python tests/conformance/silence_run.py

Streams of chat and of Responses, read by each library and by its accumulating helper, whose upstream is silent before
its head, after it, between two events, within one, and after the last one. The events must be those of a direct
connection; before the proxy, comments stand only between two events, and without them the bytes are those behind the
proxy. Then failures after the proxy has begun to wait aloud: each must be an error in the program, of the upstream's
words, one upstream call, and a connection that does not end as if all was well. Installs the npm packages as
agents_run.py does. About two minutes. Exit 1 if something was wrong.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import openai
from agents_run import SDK, install
from world.agent_upstream import AgentUpstream
from world.daemon import Daemon
from world.scripts import delta, events
from world.taps import Tap
from world.upstream import Call, Script, Upstream
from world.waiting import PATIENCE_S, eventually

HERE = Path(__file__).resolve().parent
KEY = "sk-client"
EVERY_S, SILENT_S = 0.1, 0.35
COMMENT = b": keep-alive\n"
KINDS = ("chat", "responses", "chat-helper", "responses-helper")
_AT_A_BOUNDARY = re.compile(rb"(?:^|\n\n)(?:: keep-alive\n)+")


def said(kind: str) -> list[bytes]:
    """Return the events of a stream."""
    if kind.startswith("responses"):
        made = AgentUpstream().answer({"model": "m", "input": "hi"})
        return [b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in made]
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    first = delta("one ", delta={"role": "assistant", "content": "one "})
    last = {**delta(""), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
    return events(first, delta("two", index=0), last, {**last, "choices": [], "usage": usage})


class Watched:
    """What the client has received, for an upstream that is silent until it got a comment."""

    def __init__(self) -> None:
        self.tap: Tap | None = None

    def wait(self) -> None:
        """Be silent until two comments more have come; if nobody watches, not at all."""
        before = self._comments
        assert eventually(lambda: self.tap is None or self._comments > before + 1)

    @property
    def _comments(self) -> int:
        return 0 if self.tap is None else sum(bytes(each.down).count(COMMENT) for each in self.tap.passed)


def silent(kind: str, watched: Watched, before_head: bool) -> Script:
    """Return a script that streams, and says nothing for a while at every place."""

    def script(call: Call) -> None:
        call.read_body()
        if before_head:
            watched.wait()
        call.start_stream()
        first, second, *others = said(kind)
        watched.wait()
        call.chunk(first)
        watched.wait()
        call.chunk(second[:20])
        time.sleep(SILENT_S)
        call.chunk(second[20:])
        for each in others:
            call.chunk(each)
        time.sleep(SILENT_S)
        call.end_stream()

    return script


def by_python(kind: str, base: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"events": [], "error": None}
    messages: Any = [{"role": "user", "content": "hi"}]
    usage: Any = {"include_usage": True}
    with openai.OpenAI(base_url=base, api_key=KEY) as api:
        stream: Any
        try:
            if kind == "chat":
                stream = api.chat.completions.create(
                    model="m", messages=messages, stream=True, stream_options=usage
                )
                seen["events"] = [each.model_dump(mode="json") for each in stream]
            elif kind == "responses":
                stream = api.responses.create(model="m", input="hi", stream=True)
                seen["events"] = [each.model_dump(mode="json") for each in stream]
            elif kind == "chat-helper":
                with api.chat.completions.stream(
                    model="m", messages=messages, stream_options=usage
                ) as stream:
                    seen["events"] = [each.model_dump(mode="json") for each in stream]
            else:
                with api.responses.stream(model="m", input="hi") as stream:
                    seen["events"] = [each.model_dump(mode="json") for each in stream]
        except Exception as error:
            seen["error"] = f"{type(error).__name__}: {error}"
    return seen


def by_node(kind: str, base: str) -> dict[str, Any]:
    env = {**os.environ, "AGENT_BASE": base, "AGENT_KEY": KEY, "OPENAI_NODE": str(SDK)}
    command = ["node", HERE / "agent_streams.mjs", kind]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        return {"events": [], "error": done.stderr[-1000:]}
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


LIBRARIES: dict[str, Callable[[str, str], dict[str, Any]]] = {"python": by_python, "node": by_node}


def received(data: bytes) -> bytes:
    """Return what has come of a chunked body: the libraries do not wait for the end after the last event."""
    _, _, data = data.partition(b"\r\n\r\n")
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body


def wrong_in_silence(upstream: Upstream, daemon: Daemon, before_head: bool) -> Iterator[str]:
    """Compare what the libraries see with a direct connection; say what was wrong."""
    for kind in KINDS:
        watched = Watched()
        upstream.script = silent(kind, watched, before_head)
        for name, library in LIBRARIES.items():
            watched.tap = None
            direct = library(kind, upstream.url)
            watched.tap = tap = Tap(daemon.port)
            try:
                seen = library(kind, f"http://127.0.0.1:{tap.port}/v1")
                body = received(bytes(tap.passed[0].down))
            finally:
                tap.close()
            comments = body.count(COMMENT)
            print(f"    {kind}, {name}: {len(seen['events'])} events, {comments} comments, {seen['error']}")
            if direct["error"] or not direct["events"] or seen != direct:
                yield f"{kind}, {name}: {seen} instead of {direct}"
            if _AT_A_BOUNDARY.sub(lambda m: b"\n\n" if m[0].startswith(b"\n") else b"", body) != b"".join(
                said(kind)
            ):
                yield f"{kind}, {name}: the bytes are {body!r}"
            if body.endswith(COMMENT) or comments < (6 if before_head else 4):
                yield f"{kind}, {name}: {comments} comments"


def late(failing: Script, watched: Watched) -> Script:
    """Return a script that fails once the proxy has sent a comment."""

    def script(call: Call) -> None:
        call.read_body()
        watched.wait()
        failing(call)

    return script


def refusing(status: bytes, words: str) -> Script:
    """Return a script that refuses, with head and body in two writes as most servers do."""
    error = {"message": words, "type": "t", "param": None, "code": "c"}
    body = json.dumps({"error": error}).encode()

    def script(call: Call) -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        call.send(head % (status, len(body)))
        time.sleep(0.02)
        call.send(body)

    return script


def resetting(call: Call) -> None:
    call.reset()


FAILURES: dict[str, tuple[Script, str]] = {
    "400": (refusing(b"400 Bad Request", "not so"), "not so"),
    "429": (refusing(b"429 Too Many Requests", "too much"), "too much"),
    "500": (refusing(b"500 Internal Server Error", "broken"), "broken"),
    "503": (refusing(b"503 Service Unavailable", "no room"), "no room"),
    "a reset": (resetting, "upstream"),
    "no stream": (lambda call: call.reply_json({"id": "c", "object": "x"}), "not with a stream"),
}


def wrong_in_failures(upstream: Upstream, daemon: Daemon) -> Iterator[str]:
    """Fail after the proxy has begun to wait aloud; say what was wrong."""
    for what, (failing, words) in FAILURES.items():
        for kind in KINDS[:2]:
            for name, library in LIBRARIES.items():
                calls: list[Call] = []
                watched = Watched()
                script = late(failing, watched)
                upstream.script = lambda call, script=script, calls=calls: (calls.append(call), script(call))
                watched.tap = tap = Tap(daemon.port)
                try:
                    seen = library(kind, f"http://127.0.0.1:{tap.port}/v1")
                    eventually(lambda tap=tap: b"{" in bytes(tap.passed[0].down), 5)
                    down = bytes(tap.passed[0].down)
                finally:
                    tap.close()
                print(f"    {what}, {kind}, {name}: {seen['error']}")
                if not seen["error"] or words not in seen["error"] or seen["events"]:
                    yield f"{what}, {kind}, {name}: {seen}"
                asked = sum(bool(each.up) for each in tap.passed)
                # a connection that was idle and dies is replaced once,
                if asked != 1 or len(calls) > (2 if failing is resetting else 1):
                    yield f"{what}, {kind}, {name}: {asked} requests, {len(calls)} upstream calls"
                if not down.startswith(b"HTTP/1.1 200 ") or down.endswith(b"0\r\n\r\n"):
                    yield f"{what}, {kind}, {name}: {down!r}"


def main() -> int:
    install()
    warnings.filterwarnings(
        "ignore", "Pydantic serializer warnings"
    )  # the library's own, of its helper's events
    wrong = 0
    for before_head in (False, True):
        upstream = Upstream()
        with tempfile.TemporaryDirectory() as directory:
            env = {"KEEPALIVE_S": str(EVERY_S), "KEEPALIVE_BEFORE_HEAD": str(before_head).lower()}
            daemon = Daemon(Path(directory), upstream.url, env={"OPENAI_API_KEY": "sk-up", **env})
            try:
                print(f"comments {'before and ' if before_head else ''}after the head", flush=True)
                found = [*wrong_in_silence(upstream, daemon, before_head)]
                if before_head:
                    found += wrong_in_failures(upstream, daemon)
            finally:
                daemon.stop()
                upstream.close()
            found += daemon.defects
        for fault in [*found, *map(repr, upstream.errors)]:
            print(f"    WRONG: {fault[:1500]}", flush=True)
            wrong += 1
    print(f"wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
