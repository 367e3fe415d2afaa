"""The parts of a request's JSON that identify its session. Pure."""

from __future__ import annotations

from ...wire.json_members import Span, iter_elements, iter_members

LONGEST_KEY = 4096
_CONVERSATIONS = ("messages", "input")
_INSTRUCTIONS = ("system", "developer")


def inner_text(text: bytes, outer: str, inner: str) -> bytes | None:
    """Return the text of a member of a member, with its quotes."""
    try:
        for name, (start, _) in iter_members(text, len(text) - len(text.lstrip())):
            if name == outer and text[start : start + 1] == b"{":
                for member, (first, end) in iter_members(text, start):
                    if member == inner and text[first : first + 1] == b'"':
                        return text[first:end][:LONGEST_KEY]
    except ValueError:
        pass
    return None


def beginning(text: bytes) -> bytes:
    """Return the instructions and the first message of the user, as the client wrote them.

    Both are used, because a system prompt that all users share must not send
    everybody to one upstream.
    """
    parts: list[bytes] = []
    try:
        for name, (start, end) in iter_members(text, len(text) - len(text.lstrip())):
            if name == "instructions" or name == "prompt":
                parts.insert(0, text[start:end])
            elif name in _CONVERSATIONS:
                parts += _messages(text, (start, end))
    except ValueError:
        pass
    return b"\0".join(parts)


def _messages(text: bytes, span: Span) -> list[bytes]:
    start, end = span
    if text[start : start + 1] != b"[":
        return [text[start:end]]
    parts = []
    for first, last in iter_elements(text, start):
        message = text[first:last]
        role = _role(message)
        if role == b"user" or not role:
            parts.append(message)
            break
        if role.decode("latin-1") in _INSTRUCTIONS:
            parts.append(message)
    return parts


def _role(message: bytes) -> bytes:
    if message[:1] == b"{":
        for name, (start, end) in iter_members(message, 0):
            if name == "role":
                return message[start + 1 : end - 1]
    return b""
