"""Moderations, speech and the list of models of the mock upstream. Pure."""

from __future__ import annotations

import base64
import struct
from typing import Any

from .model import ECHO, TEXT, TOOLS, required
from .reply import CREATED, EVENTS, Pieces, Refusal, Reply, event, rendered
from .words import digest_of, stream_of, tokens_in

SPECIAL = ("mock-429", "mock-500", "mock-stall", "mock-cut")
MODELS = (ECHO, TEXT, TOOLS, *SPECIAL)
MOST_INPUTS = 2048
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
LONGEST_SPEECH_S = 60
_RATE = 24_000
_MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
"""A frame of silence: MPEG-1 layer III, 128 kbit/s at 44.1 kHz, 26 ms."""


def models() -> Reply:
    """Answer GET models."""
    return Reply(rendered({"object": "list", "data": [_model(name) for name in MODELS]}))


def model(name: str) -> Reply:
    """Answer GET models/{id}: there is a model of every name."""
    return Reply(rendered(_model(name)))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "openai-proxy"}


def moderations(document: dict[str, Any], name: str, seed: bytes) -> Reply:
    """Answer POST moderations: nothing is ever flagged."""
    required(document, "input")
    given = document["input"]
    several = isinstance(given, list) and not any(isinstance(each, dict) for each in given)
    inputs = given if several else [given]
    if not inputs or len(inputs) > MOST_INPUTS:
        raise Refusal(f"Invalid 'input': expected 1 to {MOST_INPUTS} items.", param="input")
    return Reply(pieces=_judged(inputs, name, seed))


def _judged(inputs: list[Any], name: str, seed: bytes) -> Pieces:
    yield 0, b'{"id":' + rendered("modr-" + seed.hex()[:24]) + b',"model":' + rendered(name) + b',"results":['
    for index, each in enumerate(inputs):
        numbers = stream_of(digest_of(b"moderation", rendered(each)), len(_CATEGORIES))
        entry = {
            "flagged": False,
            "categories": dict.fromkeys(_CATEGORIES, False),
            "category_scores": {
                category: number / 25_600 for category, number in zip(_CATEGORIES, numbers, strict=True)
            },
            "category_applied_input_types": {category: ["text"] for category in _CATEGORIES},
        }
        yield 0, (b"," if index else b"") + rendered(entry)
    yield 0, b"]}"


def speech(document: dict[str, Any], prompt_tokens: int) -> Reply:
    """Answer POST audio/speech: silence, as long as the text takes to say, in the format that is asked for."""
    required(document, "input", "voice")
    text = document["input"]
    if not isinstance(text, str):
        raise Refusal("Invalid 'input': expected a text.", param="input")
    tenths = min(10 * LONGEST_SPEECH_S, max(1, 2 * tokens_in(text)))
    form = document.get("response_format", "mp3")
    if form == "mp3":
        data, content_type = _MP3_FRAME * (4 * tenths), b"audio/mpeg"
    elif form == "wav":
        data, content_type = _wav(bytes(_RATE // 5 * tenths)), b"audio/wav"
    elif form == "pcm":
        data, content_type = bytes(_RATE // 5 * tenths), b"audio/pcm"
    else:
        raise Refusal(
            "The mock upstream makes speech as 'mp3', 'wav' or 'pcm'.",
            param="response_format",
            code="not_mocked",
        )
    if document.get("stream_format") == "sse":
        usage = {"input_tokens": prompt_tokens, "output_tokens": tenths}
        return Reply(pieces=_speech_events(data, usage), content_type=EVENTS)
    return Reply(data, content_type=content_type, tokens=tenths)


def _wav(samples: bytes) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(samples), b"WAVE")
        + form
        + (struct.pack("<4sI", b"data", len(samples)) + samples)
    )


def _speech_events(data: bytes, usage: dict[str, int]) -> Pieces:
    for at in range(0, len(data), 8192):
        audio = base64.b64encode(data[at : at + 8192]).decode("ascii")
        yield 1, event({"type": "speech.audio.delta", "audio": audio})
    total = usage["input_tokens"] + usage["output_tokens"]
    yield 0, event({"type": "speech.audio.done", "usage": {**usage, "total_tokens": total}})
