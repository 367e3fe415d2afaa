"""Recognise errors at the beginning of a stream with status 200. Pure.

Gateways send the 200 before they know (OpenRouter, LiteLLM), and OpenAI's
Responses streams end in this way when the quota is exhausted.
"""

from __future__ import annotations

import re
from typing import Any

from .codings import maybe_decoded, maybe_decoder
from .decoders import CodingError
from .documents import maybe_object, maybe_only_object
from .sse import SSEBlock, SSEDecoder

LIMIT_BYTES = 64 * 1024
"""The largest part of a stream that is read."""
_STEP_BYTES = 16 * 1024
_PIECE_BYTES = 1024
"""The size of the slices that are read: two or three events decide, so a read with half of a stream is not parsed whole."""
UNNAMED = "upstream_error"
"""The code for an error without one."""
_LONGEST_CODE = 64
_odd = re.compile(r"[^A-Za-z0-9_.\-]+")
_BEGINNINGS = frozenset(("response.created", "response.queued", "response.in_progress"))
_FAILURES = frozenset(("error", "response.failed"))
_ANSWERS = ("choices", "data", "output", "results", "text")
"""Members that an answer of the API has."""
_may_tell_error = re.compile(rb'"(?:error|errors|error_code|base_resp|success)"')
_error_name = re.compile(rb"(?:^|[\r\n])event: ?(?:error|response\.failed) *(?:[\r\n]|$)")


class FirstEvents:
    """Read the beginning of an event stream as it comes, in any known content coding.

    `feed` until `decided`; then `error` is the error's code, or None for a
    stream that begins with content, or with an error that reports a usage: it
    has a cost. `seen`: an event has come, whatever it contains. Events without
    content (a role, `response.created`) leave it undecided. Holds at most
    LIMIT_BYTES.
    """

    __slots__ = ("_decoder", "_events", "_left", "decided", "error", "seen")

    def __init__(self, coding: bytes = b"") -> None:
        self.error: str | None = None
        self.seen = False
        self._events = SSEDecoder(LIMIT_BYTES)
        self._left = LIMIT_BYTES
        self._decoder = maybe_decoder(coding) if coding else None
        self.decided = bool(coding) and self._decoder is None

    def feed(self, data: bytes) -> None:
        """Take the next raw bytes; none are read once it is decided."""
        if self.decided:
            return
        decoder = self._decoder
        if decoder is None:
            at = 0
            while at < len(data) and not self.decided:
                end = data.find(b"\n\n", at, at + _PIECE_BYTES) + 2
                end = end if end >= 2 else at + _PIECE_BYTES
                self._read(data[at:end])
                at = end
            return
        try:
            decoder.put(data)
            while not self.decided and (piece := decoder.next_piece(_STEP_BYTES)):
                self._read(piece)
        except CodingError:
            self.decided = True

    def _read(self, data: bytes) -> None:
        self._left -= len(data)
        for block in self._events.feed(data):
            if not (block.data or b"").strip() and maybe_error_line(block) is None:
                continue  # a comment, such as a keep-alive
            self.seen = True
            self._judge(block)
            if self.decided:
                return
        if self._left <= 0:
            self.decided = True

    def finish(self) -> None:
        """Note the end of the stream; some servers omit the last blank line."""
        if not self.decided:
            for block in self._events.finish():
                if not self.decided and (block.data is not None or maybe_error_line(block) is not None):
                    self._judge(block)
            self.decided = True

    def _judge(self, block: SSEBlock) -> None:
        document = maybe_object(block.data) if block.data is not None else maybe_error_line(block)
        if document is None:
            self.decided = True
            return
        error = maybe_error(document, block.data is None or is_named_error(block.raw))
        self.decided = error is not None or _says_something(document)
        if not _has_cost(document):
            self.error = error


def maybe_error(document: dict[str, Any], named: bool = False) -> str | None:
    """Return the code of the error in a document or event, None if there is none.

    `named`: the event's name says that it is an error. Forms: `{"error": …}`
    (OpenAI's errors, vLLM, OpenRouter with `choices` next to it), a choice with
    an `error` or one that finished with an error (OpenRouter), `{"type":
    "error", "code": …}` and `response.failed` (Responses), `{"object": "error",
    "code": …}` (older vLLM).
    """
    error: Any = document.get("error") or _error_of_choice(document)
    kind = document.get("type")
    if kind == "response.failed" and isinstance(document.get("response"), dict):
        error = document["response"].get("error") or True
    elif not error and (named or kind in _FAILURES or document.get("object") == "error"):
        error = document
    elif not error:
        return None
    if isinstance(error, dict):
        words = error.get("code"), error.get("type"), document.get("code")
        for word in words:
            if isinstance(word, (str, int)) and not isinstance(word, bool) and word not in ("", "error"):
                return shown_code(str(word))
    return UNNAMED


def _error_of_choice(document: dict[str, Any]) -> Any:
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
            return choice.get("error") or True
    return None


def maybe_error_line(block: SSEBlock) -> dict[str, Any] | None:
    """Return the error in a block's field `error`, as older llama.cpp sends it; None if it has none."""
    if block.data is not None or not block.raw.startswith(b"error:"):
        return None
    return maybe_object(block.raw[len(b"error:") :])


def error_of_event(block: SSEBlock) -> str | None:
    """Return the code of the error in a whole event, None if there is none."""
    document = maybe_object(block.data) if block.data is not None else maybe_error_line(block)
    return (
        None
        if document is None
        else maybe_error(document, named=block.data is None or is_named_error(block.raw))
    )


def is_named_error(raw: bytes) -> bool:
    """Return whether the name in an event's raw bytes says that it is an error."""
    return b"event:" in raw and bool(_error_name.search(raw))


def shown_code(code: str) -> str:
    """Return an error's code in a form for logs, because the upstream chooses it."""
    return _odd.sub("_", code)[:_LONGEST_CODE]


def error_of_document(body: bytes, coding: bytes = b"") -> str | None:
    """Return the code of the error in a short JSON answer, None if it is an ordinary answer.

    An answer with a `usage` has a cost, such as a Response that failed half-way.
    """
    if coding:
        decoded = maybe_decoded(body, coding, LIMIT_BYTES)
        if decoded is None:
            return None
        body = decoded[0]
    if not _may_tell_error.search(body):
        return None
    document = maybe_only_object(body)  # Gemini puts its errors into a list
    return None if document is None else error_of_answer(document)


def error_of_answer(document: dict[str, Any]) -> str | None:
    """Return the code of the error that a whole answer is, None if it is an ordinary one.

    Beside the forms of `maybe_error`: what has no member of the API's answers,
    and a word of an error in its place.
    """
    if _has_cost(document):
        return None
    code = maybe_error(document)
    return code if code is not None or any(map(document.get, _ANSWERS)) else _foreign_error(document)


def _foreign_error(document: dict[str, Any]) -> str | None:
    """Return the code of an error in the form of a server's own API: MiniMax, Baidu, Cloudflare, Zhipu."""
    base, errors = document.get("base_resp"), document.get("errors")
    error: Any = None
    if isinstance(base, dict) and base.get("status_code"):
        error = {"code": base["status_code"]}
    elif "object" in document:
        return None
    elif document.get("error_code"):
        error = {"code": document["error_code"]}
    elif isinstance(errors, list) and errors:
        error = errors[0]
    elif document.get("success") is False:
        error = document
    return maybe_error({"error": error})


def error_of_failed_response(body: bytes) -> str | None:
    """Return the code of the error with which a whole answer of the Responses API failed half-way, else None."""
    document = maybe_object(body) if b'"failed"' in body else None
    return maybe_error(document) if document is not None and document.get("status") == "failed" else None


def _has_cost(document: dict[str, Any]) -> bool:
    """Return whether an event or answer reports that something was used: a response that fails in the end was written."""
    response = document.get("response")
    usage = (response if isinstance(response, dict) else document).get("usage")
    return isinstance(usage, dict) and any(
        isinstance(used, (int, float)) and used > 0 for used in usage.values()
    )


def _says_something(event: dict[str, Any]) -> bool:
    """Return whether an event has content, or may have some."""
    if event.get("type") in _BEGINNINGS:
        return False
    choices = event.get("choices")
    if not isinstance(choices, list):
        return True
    return any(not isinstance(choice, dict) or _has_content(choice) for choice in choices)


def _has_content(choice: dict[str, Any]) -> bool:
    if choice.get("text") or choice.get("finish_reason"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
