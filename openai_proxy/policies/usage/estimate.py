"""How many model tokens a request may cost, before anybody knows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..override.endpoint_params import OUTPUT_LIMITS, Changes, edits_for
from ..override.params import ModelParams
from .media_tokens import UNKNOWN_FILE_TOKENS, audio_tokens, file_tokens, image_tokens, video_tokens

BYTES_PER_TOKEN = 4
SMALL_BYTES = 4096
"""A smaller body holds no picture that would count more by its bytes than by its tiles."""
_CHOICES = ("n", "best_of")
"""Members that say how many answers are written; of `best_of` only the best `n` are shown."""
_COUNTED = frozenset((*OUTPUT_LIMITS, *_CHOICES))
_WITHOUT_PROMPT = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))
COUNTING = frozenset(
    ("responses/input_tokens", "responses/input_tokens/count", "chat/completions/input_tokens")
)
"""Endpoints that only count the tokens of a prompt: no model runs, and no upstream charges anything."""
MOST_OUTPUT_TOKENS = 10_000_000
"""More is a slip of the client's: it must not overflow what counts it."""


def prompt_tokens(body: bytes, document: dict[str, Any] | None) -> int:
    """Return the tokens of a request's prompt, at least 1: the one estimate of limits, budgets and logs.

    `document` is what `body` says; without it, and for a short body, a token
    is a quarter of the bytes. O(n) over the document.
    """
    if document is None or len(body) < SMALL_BYTES:
        return estimated_prompt_tokens(len(body))
    return estimated_input_tokens(document) or 1


def estimated_prompt_tokens(size_bytes: int) -> int:
    """Return the tokens of a body of `size_bytes` of which nothing else is known: a quarter, at least 1."""
    return size_bytes // BYTES_PER_TOKEN or 1


def estimated_input_tokens(document: dict[str, Any]) -> int:
    """Estimate a prompt: a quarter of its text's bytes, one for each token id, media by their own rules."""
    size_bytes = tokens = 0
    lists: list[list[Any]] = []
    objects: list[dict[str, Any]] = [document]
    # level by level, for a list of a million small lists is not to take a step in Python for each
    while lists or objects:
        values = list(chain.from_iterable(lists))
        kinds = set(map(type, values))
        lists = [value for value in values if type(value) is list and value] if list in kinds else []
        if str in kinds:
            size_bytes += _size_bytes("".join([value for value in values if type(value) is str]))
        if int in kinds or bool in kinds:
            tokens += len([value for value in values if isinstance(value, int)])
        inner = [value for value in values if type(value) is dict and value] if dict in kinds else []
        for each in objects:
            for name, member in each.items():
                rule = _MEDIA.get(name)
                if rule is not None:
                    tokens += rule(member, each)
                elif not isinstance(member, str | dict | list) or name in _NO_PROMPT:
                    continue
                elif isinstance(member, str):
                    size_bytes += _size_bytes(member)
                elif isinstance(member, list):
                    lists.append(member)
                else:
                    inner.append(member)
        objects = inner
    return tokens - (-size_bytes // BYTES_PER_TOKEN)


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else value


def _image(value: Any, part: dict[str, Any]) -> int:
    detail = value.get("detail") if isinstance(value, dict) else part.get("detail")
    return image_tokens(_member(value, "url"), detail)


def _audio(value: Any, part: dict[str, Any]) -> int:
    return audio_tokens(_member(value, "data"), _member(value, "format"))


def _file(value: Any, part: dict[str, Any]) -> int:
    return file_tokens(_member(value, "file_data"))


def _file_elsewhere(value: Any, part: dict[str, Any]) -> int:
    return UNKNOWN_FILE_TOKENS


def _video(value: Any, part: dict[str, Any]) -> int:
    return video_tokens(_member(value, "url"))


_MEDIA = {
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "file_data": _file,
    "file_id": _file_elsewhere,
    "file_url": _file_elsewhere,
    "video_url": _video,
}
"""The members of content parts that are no text, as Chat Completions, Responses and vLLM name them."""
_NO_PROMPT = frozenset(("model", "metadata", "user", "safety_identifier", "prompt_cache_key"))


def requested_output_tokens(document: dict[str, Any]) -> int:
    """Return the output that a request asks for at most, for all its choices; 0 if it says nothing."""
    if OUTPUT_LIMITS.isdisjoint(document):
        return 0
    most = 0
    for name in OUTPUT_LIMITS:
        value = document.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > most:
            most = int(min(value, MOST_OUTPUT_TOKENS))
    written = 1
    for name in _CHOICES:
        choices = document.get(name)
        if isinstance(choices, int) and not isinstance(choices, bool) and written < choices <= 128:
            written = choices
    return most * written


def reserved_model_tokens(
    method: bytes,
    body: object,
    document: dict[str, Any] | None,
    model: str | None = None,
    prompt: int | None = None,
    endpoint: str = "",
) -> int:
    """Return what to reserve for a request: prompt estimate and asked-for output.

    0 for a request without a body (listing, deleting, a WebSocket), and at an
    `endpoint` that only counts tokens. A body that streams through (audio,
    files) reserves 1: it waits while the key is in debt, and pays what it turns
    out to use. The `model` decides nothing here.
    `prompt` is the estimate of the prompt, if somebody has made it.
    """
    if body is None or method in _WITHOUT_PROMPT or endpoint in COUNTING:
        return 0
    if not isinstance(body, bytes):
        return 1
    output = requested_output_tokens(document) if document else 0
    return (prompt_tokens(body, document) if prompt is None else prompt) + output


class TokenEstimate:
    """`reserved_model_tokens` of requests as the configured parameters `rules` will change them."""

    def __init__(self, rules: Iterable[ModelParams] = ()) -> None:
        self._changes = Changes(rules)

    def __call__(
        self,
        method: bytes,
        body: object,
        document: dict[str, Any] | None,
        model: str | None = None,
        prompt: int | None = None,
        endpoint: str = "",
    ) -> int:
        """Return what to reserve for a request for `model` at `endpoint` that comes with `document`."""
        if document is not None and model is not None:
            edits = edits_for(self._changes.find(model, endpoint), document)
            kept = {name: value for name, value in document.items() if name not in edits.removed}
            document = {**kept, **edits.values}
        return reserved_model_tokens(method, body, document, model, prompt, endpoint)


def token_estimate(rules: Iterable[ModelParams]) -> Callable[..., int]:
    """Return what estimates requests, as `reserved_model_tokens` does, under the configured parameters `rules`."""
    counted = [rule for rule in rules if not _COUNTED.isdisjoint((*rule.params, *rule.default_params))]
    return TokenEstimate(counted) if counted else reserved_model_tokens
