"""Put the events of a transcription or of images together as a plain call would have answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_TEXT = "transcript.text."
_IMAGES = ("image_generation.completed", "image_edit.completed")
_OF_ONE_IMAGE = ("b64_json", "revised_prompt", "url")


def assemble_transcript(events: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the transcript that these events stream: its text, and whatever else its last event says.

    One that was cut has the text that had come. Segments (of speakers) are
    listed as the plain answer has them. None if it is no transcription; may
    raise KeyError or TypeError for members of unexpected types.
    """
    whole: dict[str, Any] | None = None
    pieces: list[str] = []
    segments: list[dict[str, Any]] = []
    for event in events:
        kind = event.get("type")
        if not isinstance(kind, str) or not kind.startswith(_TEXT):
            return None
        if kind == "transcript.text.delta":
            pieces.append(event["delta"])
        elif kind == "transcript.text.segment":
            segments.append(event)
        elif kind == "transcript.text.done":
            whole = {name: value for name, value in event.items() if name != "type"}
    if whole is None:
        whole = {"text": "".join(pieces) or " ".join([str(each.get("text")).strip() for each in segments])}
    return {**whole, "segments": segments} if segments else whole


def assemble_images(events: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return what a plain call of the images API answers: the images, without the partial ones before them.

    None if no image was completed: then the partial ones are all there is.
    """
    whole: dict[str, Any] = {}
    images: list[dict[str, Any]] = []
    for event in events:
        if event.get("type") not in _IMAGES:
            continue
        for name, value in event.items():
            if name not in _OF_ONE_IMAGE and name != "type":
                whole["created" if name == "created_at" else name] = value
        images.append({name: event[name] for name in _OF_ONE_IMAGE if name in event})
    return {**whole, "data": images} if images else None
