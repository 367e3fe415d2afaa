"""Sessions of openai-python over WebSocket, and what the program that holds them sees."""

from __future__ import annotations

import contextlib
from typing import Any

import openai
from attrs import define, field
from websockets.exceptions import ConnectionClosed

LANES = 8
MODEL = "gpt-agent"


@define
class Seen:
    """What a client's user saw."""

    turns: int = 0
    """Responses that ended well."""
    errors: list[str] = field(factory=list)
    text: str = ""
    """All that the client said."""
    closed: list[int] = field(factory=list)
    """The codes with which connections ended that the library then opened anew."""
    cut: int = 0
    """Turns that had begun when their connection ended."""


def responses_in_lanes(base: str, key: str, turns: int) -> Seen:
    """Run eight lanes at once in one WebSocket of `/responses`, each with that many turns, or until it is refused."""
    seen = Seen()
    left = {f"lane-{number}": turns for number in range(LANES)}
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
    with client, client.responses.connect() as connection:

        def ask(lane: str, **more: str) -> None:
            connection.response.create(model=MODEL, input=f"turn of {lane}", stream_id=lane, **more)

        for lane in left:
            ask(lane)
        while left:
            event: Any = connection.recv()
            lane = getattr(event, "stream_id", None)
            if event.type == "error":
                seen.errors.append(f"{event.error.code}: {event.error.message}")
                del left[lane]
            elif event.type == "response.completed":
                seen.turns += 1
                seen.text += event.response.output_text
                left[lane] -= 1
                if left[lane]:
                    ask(lane, previous_response_id=event.response.id)
                else:
                    del left[lane]
    return seen


def responses_through_restarts(base: str, key: str, turns: int) -> Seen:
    """Run eight lanes with that many turns each, and go on by the library's own means when the server closes.

    What was refused because the daemon stops, or asked in the moment in
    which the connection ended, is asked anew on the next one.
    """
    seen = Seen()
    left = {f"lane-{number}": turns for number in range(LANES)}
    begun: set[str] = set()
    last: dict[str, str] = {}
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)

    def reconnecting(event: Any) -> None:
        if event.attempt == 1:  # what is asked now goes out on the next connection
            seen.closed.append(event.close_code)
            seen.cut += len(begun)
            begun.clear()
            for lane in left:
                ask(lane)

    def ask(lane: str) -> None:
        more: Any = {"previous_response_id": last[lane]} if lane in last else {}
        with contextlib.suppress(ConnectionClosed):  # the library sees it when it reads on
            connection.response.create(model=MODEL, input=f"turn of {lane}", stream_id=lane, **more)

    with client, client.responses.connect(on_reconnecting=reconnecting, max_retries=20) as connection:
        for lane in left:
            ask(lane)
        for event in connection:
            lane = str(getattr(event, "stream_id", None))
            if event.type == "error":
                if event.error.code != "shutting_down":
                    seen.errors.append(f"{event.error.code}: {event.error.message}")
                    del left[lane]
            elif event.type == "response.created":
                begun.add(lane)
            elif event.type == "response.completed":
                seen.turns += 1
                begun.discard(lane)
                last[lane] = event.response.id
                left[lane] -= 1
                if left[lane]:
                    ask(lane)
                else:
                    del left[lane]
            if not left:
                break
    return seen


def realtime(base: str, key: str, turns: int) -> Seen:
    """Have a talk of that many turns over `/realtime`, or until one is refused."""
    seen = Seen()
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
    with client, client.realtime.connect(model=MODEL) as connection:
        connection.session.update(session={"type": "realtime", "model": MODEL})
        content: Any = [{"type": "input_text", "text": "hi"}]
        for _ in range(turns):
            connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            connection.response.create()
            for event in connection:
                if event.type == "error":
                    seen.errors.append(f"{event.error.code}: {event.error.message}")
                    return seen
                if event.type == "response.done":
                    seen.turns += 1
                    break
    return seen
