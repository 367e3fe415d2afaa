"""An upstream for agents: Responses as HTTP streams and over WebSocket, on one port.

What it answers follows from what it is asked. A user's message is answered
by a call of the client's shell if it offers one, the output of that call by
a message that ends the turn. Each call of the model costs the same tokens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from world.upstream import Call, PeerGone

INPUT_TOKENS, OUTPUT_TOKENS = 100, 20
COMMAND = "echo counted-$((6*7))"
"""What the model asks the client's shell to do."""
SAID = "counted-42"
"""What that prints."""
ANSWER = "All done: 42."
AUDIO = {"input_token_details": {"audio_tokens": 60}, "output_token_details": {"audio_tokens": 15}}


def prices(output_usd: int) -> str:
    """Return the TOML for free input, and this price of a million tokens of output, text and sound."""
    return f"""
[[cost.prices]]
match = "*"
input_usd_per_million = 0
input_audio_usd_per_million = 0
output_usd_per_million = {output_usd}
output_audio_usd_per_million = {output_usd}
"""


class AgentUpstream:
    """The script of a `world.upstream.Upstream`; `turns` keeps what each call of a model asked."""

    def __init__(self, *, opens_websockets: bool = True) -> None:
        self.turns: list[tuple[str, dict[str, Any]]] = []
        """HTTP or WS, and the parameters."""
        self.credentials: list[str] = []
        self.received: dict[int, list[bytes]] = {}
        """Of each WebSocket the text messages that it got, by number."""
        self.sent: dict[int, list[bytes]] = {}
        self.pause_s = 0.002
        """Between two events of a turn over WebSocket."""
        self.finished = 0
        """Turns over WebSocket that were sent to their end, while their connection was open."""
        self._opens_websockets = opens_websockets
        self._numbers = itertools.count(1)
        self._sockets = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        credential = call.header(b"authorization") or call.header(b"sec-websocket-protocol") or b""
        self.credentials.append(credential.decode())
        if call.header(b"upgrade"):
            if self._opens_websockets:
                self._websocket(call)
            else:
                call.reply_json({"error": {"message": "no WebSockets here"}}, b"404 Not Found")
        elif call.method == b"POST" and call.target.partition(b"?")[0].endswith(b"/responses"):
            self._stream(call)
        elif call.target.partition(b"?")[0].endswith(b"/models"):
            call.reply_json({"object": "list", "data": [{"id": "gpt-agent", "object": "model"}]})
        else:
            call.reply_json({"error": {"message": "not here", "code": None}}, b"404 Not Found")

    # ---- over HTTP

    def _stream(self, call: Call) -> None:
        asked = json.loads(call.read_body())
        self.turns.append(("HTTP", asked))
        events = [*self.answer(asked)]
        if not asked.get("stream"):
            call.reply_json(events[-1]["response"])
            return
        call.start_stream()
        for event in events:
            call.chunk(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()))
        call.end_stream()

    # ---- over WebSocket

    def _websocket(self, call: Call) -> None:
        protocol = ServerProtocol(subprotocols=None, max_size=None)
        protocol.receive_data(call.head + b"\r\n\r\n" + call.rest)
        call.rest, call.closed = b"", True
        [request] = protocol.events_received()
        assert isinstance(request, Request)
        response = protocol.accept(request)
        if "realtime" in (call.header(b"sec-websocket-protocol") or b"").decode():
            response.headers["Sec-WebSocket-Protocol"] = "realtime"
        protocol.send_response(response)
        number = next(self._sockets)
        received = self.received[number] = []
        sent = self.sent[number] = []
        lock = threading.Lock()

        def send(event: dict[str, Any]) -> None:
            text = json.dumps(event).encode()
            with lock:
                sent.append(text)
                protocol.send_text(text)
                self._flush(call, protocol)

        self._flush(call, protocol)
        is_realtime = b"/realtime" in call.target
        if is_realtime:
            send({"type": "session.created", "session": {"id": "sess_1", "object": "realtime.session"}})
        text = b""
        while True:
            for frame in protocol.events_received():
                if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
                    text += frame.data
                    if frame.fin:
                        received.append(text)
                        self._take(json.loads(text), send, is_realtime)
                        text = b""
            self._flush(call, protocol)
            if protocol.close_expected():
                return
            try:
                protocol.receive_data(call.receive())
            except (PeerGone, ConnectionClosed):
                return

    @staticmethod
    def _flush(call: Call, protocol: ServerProtocol) -> None:
        for data in protocol.data_to_send():
            if data:
                call.send(data)

    def _take(self, event: dict[str, Any], send: Any, is_realtime: bool) -> None:
        if event["type"] == "session.update":
            send({"type": "session.updated", "session": {**event["session"], "id": "sess_1"}})
        elif event["type"] == "conversation.item.create":
            send({"type": "conversation.item.created", "item": event["item"]})
        elif event["type"] == "response.create":
            self.turns.append(("WS", event))
            events = self.speech() if is_realtime else self.answer(event)
            lane = {"stream_id": event["stream_id"]} if event.get("stream_id") else {}
            threading.Thread(target=self._speak, args=(events, lane, send), daemon=True).start()

    def _speak(self, events: Iterator[dict[str, Any]], lane: dict[str, str], send: Any) -> None:
        """Send the events of one turn; those of other lanes come between them."""
        with contextlib.suppress(OSError, InvalidState):
            for each in events:
                send({**each, **lane})
                time.sleep(self.pause_s)
            with self._lock:
                self.finished += 1

    # ---- what a model says

    def answer(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events of one response."""
        with self._lock:
            identity = f"resp_{next(self._numbers):04}"
        item = None if asked.get("generate") is False else self._item(asked, identity)
        response = {"id": identity, "object": "response", "model": asked.get("model"), "created_at": 1}
        number = itertools.count()
        yield {"type": "response.created", "sequence_number": next(number), "response": _running(response)}
        if item is not None:
            ids = {"output_index": 0, "item_id": item["id"]}
            begun = {**item, "status": "in_progress"}
            yield {
                "type": "response.output_item.added",
                "sequence_number": next(number),
                "output_index": 0,
                "item": {**begun, "content": []} if item["type"] == "message" else {**begun, "arguments": ""},
            }
            if item["type"] == "message":
                part = {"type": "output_text", "text": "", "annotations": []}
                yield {
                    "type": "response.content_part.added",
                    "sequence_number": next(number),
                    **ids,
                    "content_index": 0,
                    "part": part,
                }
                for piece in ANSWER.split(" "):
                    yield {
                        "type": "response.output_text.delta",
                        "sequence_number": next(number),
                        **ids,
                        "content_index": 0,
                        "delta": piece + " ",
                        "logprobs": [],
                    }
            else:
                arguments = item["arguments"]
                yield {
                    "type": "response.function_call_arguments.delta",
                    "sequence_number": next(number),
                    **ids,
                    "delta": arguments,
                }
                yield {
                    "type": "response.function_call_arguments.done",
                    "sequence_number": next(number),
                    **ids,
                    "name": item["name"],
                    "arguments": arguments,
                }
            yield {
                "type": "response.output_item.done",
                "sequence_number": next(number),
                "output_index": 0,
                "item": item,
            }
        usage = _usage() if item is not None else _usage(0, 0)
        done = {**_running(response), "status": "completed", "output": [item] if item else [], "usage": usage}
        yield {"type": "response.completed", "sequence_number": next(number), "response": done}

    def _item(self, asked: dict[str, Any], identity: str) -> dict[str, Any]:
        last = asked["input"][-1] if isinstance(asked.get("input"), list) and asked["input"] else {}
        tools = {tool.get("name") for tool in asked.get("tools") or ()}
        if last.get("type", "message") == "message" and last.get("role") == "user":
            for name, arguments in (
                ("exec_command", {"cmd": COMMAND}),
                ("shell_command", {"command": COMMAND}),
                ("shell", {"command": ["bash", "-lc", COMMAND]}),
            ):
                if name in tools:
                    return {
                        "id": f"fc_{identity}",
                        "type": "function_call",
                        "status": "completed",
                        "call_id": f"call_{identity}",
                        "name": name,
                        "arguments": json.dumps(arguments),
                    }
        text = {"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}
        return {
            "id": f"msg_{identity}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [text],
        }

    def speech(self) -> Iterator[dict[str, Any]]:
        """Yield the events of one response of Realtime, with sound."""
        with self._lock:
            identity = f"resp_{next(self._numbers):04}"
        response = {"object": "realtime.response", "id": identity, "status": "in_progress", "output": []}
        yield {"type": "response.created", "event_id": f"event_{identity}a", "response": response}
        ids = {"response_id": identity, "item_id": "item_1", "output_index": 0, "content_index": 0}
        yield {
            "type": "response.output_audio.delta",
            **ids,
            "event_id": f"event_{identity}b",
            "delta": "AAAA" * 500,
        }
        for piece in ANSWER.split(" "):
            yield {
                "type": "response.output_audio_transcript.delta",
                **ids,
                "event_id": "e",
                "delta": piece + " ",
            }
        counts = {name: count for name, count in _usage().items() if not name.endswith("_details")}
        done = {**response, "status": "completed", "usage": {**counts, **AUDIO}}
        yield {"type": "response.done", "event_id": f"event_{identity}c", "response": done}


def _running(response: dict[str, Any]) -> dict[str, Any]:
    return {
        **response,
        "status": "in_progress",
        "output": [],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
    }


def _usage(read: int = INPUT_TOKENS, written: int = OUTPUT_TOKENS) -> dict[str, Any]:
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
