"""Sessions of openai-python over WebSocket, and what the program that holds them sees."""

from __future__ import annotations

from typing import Any

import openai
from attrs import define, field

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
