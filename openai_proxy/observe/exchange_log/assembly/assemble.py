"""Put a stream's events together as a plain call would have answered.

For chat completions, completions, responses, transcriptions and images. Takes decoded events,
holds their text once, and gives None for what it does not know: then the
events themselves are the record. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .media import assemble_images, assemble_transcript

# Members that name something: repeated, not continued, from chunk to chunk.
NAMES = frozenset(
    ("id", "type", "role", "name", "object", "finish_reason", "model", "status", "severity", "format")
)
_TERMINAL = frozenset(("response.completed", "response.incomplete", "response.failed"))


def assemble(events: Sequence[Any]) -> dict[str, Any] | None:
    """Return the object that these events stream, or None if they do not fit together.

    `events` are the decoded data of each event, without `[DONE]`. A stream
    that was cut gives what had come by then. O(n) over the stream.
    """
    has_choices = False
    for event in events:
        if type(event) is not dict:
            return None
        has_choices = has_choices or type(event.get("choices")) is list
    try:
        for event in events:
            kind = event.get("type")
            if kind is None:
                continue
            if str(kind).startswith("response."):
                return _assemble_response(events)
            if str(kind).startswith("transcript.text."):
                return assemble_transcript(events)
            if str(kind).startswith(("image_generation.", "image_edit.")):
                return assemble_images(events)
        if has_choices:
            return _assemble_choices(events)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):  # members of unexpected types
        return None
    return None


class _Text:
    """A string that grows: pieces are joined once, at the end."""

    __slots__ = ("pieces",)

    def __init__(self, first: str) -> None:
        self.pieces = [first]


class _Indexed:
    """A list whose items arrive in pieces, each with its index.

    Some servers give all tool calls of an answer one index (Ollama), or none
    at all: a piece with a name and an id of its own begins another call.
    """

    __slots__ = ("_by_id", "_last", "items")

    def __init__(self) -> None:
        self.items: dict[tuple[int, int], dict[str, Any]] = {}
        """By index, and which of those that have the same."""
        self._by_id: dict[tuple[int, str], tuple[int, int]] = {}
        self._last: dict[int, tuple[int, int]] = {}
        """By index: the item that a piece without a name goes on with."""

    def add(self, piece: dict[str, Any]) -> None:
        index = piece.get("index")
        rest = {key: value for key, value in piece.items() if key != "index"}
        key = self._key(rest, index or 0, has_index=index is not None)
        _merge(self.items.setdefault(key, {}), rest)

    def _key(self, piece: dict[str, Any], index: int, *, has_index: bool) -> tuple[int, int]:
        last = self._last.get(index)
        function, id = piece.get("function"), piece.get("id")
        if last is not None and not (isinstance(function, dict) and function.get("name")):
            return last
        another = (index, len(self.items))
        if isinstance(id, str) and id:
            known = last if last is not None and not self.items[last].get("id") else another
            key = self._by_id.setdefault((index, id), known)
        else:
            key = last if last is not None and has_index else another
        self._last[index] = key
        return key

    @property
    def in_order(self) -> list[dict[str, Any]]:
        return [self.items[key] for key in sorted(self.items)]


def _merge(target: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta's members: text is continued, lists go on, all else is the newest."""
    for key, value in delta.items():
        old = target.get(key)
        if type(value) is str:
            if type(old) is _Text:
                old.pieces.append(value)
            elif key in NAMES:
                target[key] = value or old
            elif type(old) is list and key == "content":
                _add_text(old, value)
            else:
                target[key] = _Text(value)
        elif value is None:
            target.setdefault(key, None)
        elif isinstance(value, dict):
            if not isinstance(old, dict):
                old = target[key] = {}
            _merge(old, value)
        elif isinstance(value, list):
            target[key] = _merge_list(old, value, key == "tool_calls")
        else:
            target[key] = value


def _add_text(parts: list[Any], text: str) -> None:
    """Go on with a content of parts as text: Mistral's models think in parts, and answer in text."""
    last = parts[-1] if parts else None
    if not (isinstance(last, dict) and type(last.get("text")) is _Text):
        last = {"type": "text", "text": _Text("")}
        parts.append(last)
    last["text"].pieces.append(text)


def _merge_list(old: Any, pieces: list[Any], are_calls: bool) -> Any:
    if pieces and all(isinstance(piece, dict) and _is_indexed(piece, are_calls) for piece in pieces):
        if not isinstance(old, _Indexed):
            old = _Indexed()
        for piece in pieces:
            old.add(piece)
        return old
    if isinstance(old, list):
        old.extend(pieces)
        return old
    return old if isinstance(old, _Indexed) else list(pieces)


def _is_indexed(piece: dict[str, Any], is_call: bool) -> bool:
    index = piece.get("index")
    return type(index) is int or (is_call and index is None)


def _finished(members: dict[str, Any]) -> dict[str, Any]:
    """Return `members` with every growing part made plain JSON, in its place."""
    for key, value in members.items():
        kind = type(value)
        if kind is _Text:
            members[key] = "".join(value.pieces)
        elif kind is dict:
            _finished(value)
        elif kind is list and key == "content":
            members[key] = [_finished(item) if type(item) is dict else item for item in value]
        elif kind is _Indexed:
            members[key] = [_finished(item) for item in value.in_order]
    return members


# ---- chat/completions and completions

_PLAIN = frozenset(("index", "delta", "finish_reason", "logprobs"))
_NOTHING: dict[str, Any] = {}


def _assemble_choices(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    texts: dict[int, _Text] = {}
    for event in events:
        whole.update(event)
        for choice in event.get("choices") or ():
            index = choice.get("index") or 0
            delta = choice.get("delta")
            if delta and len(delta) == 1 and index in texts and choice.keys() <= _PLAIN:
                # Nearly every chunk of nearly every stream: some text and nothing else.
                text = delta.get("content")
                if type(text) is str and not (choice.get("finish_reason") or choice.get("logprobs")):
                    texts[index].pieces.append(text)
                    continue
            target = choices.get(index)
            if target is None:
                target = choices[int(index)] = {"index": index}
            _add_choice(target, choice)
            content = target.get("message", _NOTHING).get("content")
            if type(content) is _Text:
                texts[index] = content
            else:
                texts.pop(index, None)
    _restore(whole, events)
    if whole.get("object") == "chat.completion.chunk":
        whole["object"] = "chat.completion"
    usage = whole.pop("usage", None)
    whole.pop("obfuscation", None)
    whole["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    if usage is not None:
        whole["usage"] = usage
    return whole


def _restore(whole: dict[str, Any], events: Sequence[dict[str, Any]]) -> None:
    """Give members that ended as null the newest value that was none. O(n) over the stream."""
    missing = {key for key, value in whole.items() if value is None}
    for event in reversed(events):
        if not missing:
            return
        for key, value in event.items():
            if value is not None and key in missing:
                whole[key] = value
                missing.discard(key)


def _add_choice(target: dict[str, Any], choice: dict[str, Any]) -> None:
    for key, value in choice.items():
        if key == "delta":
            message = target.get("message")
            if message is None:
                message = target["message"] = {"role": "assistant", "content": None}
            if value:
                _merge(message, value)
        elif value is None:
            target.setdefault(key, None)
        elif key == "message" and key in target:
            target[key] = value  # the whole, once more
        elif key != "index":
            _merge(target, {key: value})


# ---- responses


def _assemble_response(events: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    whole: dict[str, Any] | None = None
    output = _Output()
    for event in events:
        kind = str(event.get("type", ""))
        if isinstance(event.get("response"), dict):
            whole = event["response"]
            if kind in _TERMINAL and (whole.get("output") or not output.items):
                return whole
        elif kind in ("response.output_item.added", "response.output_item.done"):
            output.put(event)
        elif kind.endswith(".delta") and isinstance(event.get("delta"), str):
            _continue_item(output.of(event), kind, event)
    if whole is None:
        return None
    return {**whole, "output": [_finished(item) for item in output.in_order()]}


class _Output:
    """The items of a Response's output, by their index if the events have it, otherwise by their id.

    OpenAI, vLLM, Ollama and OpenRouter number the items; llama.cpp gives
    each event the `item_id` of its item and no number.
    """

    __slots__ = ("_by_id", "_last", "items")

    def __init__(self) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self._by_id: dict[str, int] = {}
        self._last = 0

    def put(self, event: dict[str, Any]) -> None:
        item = dict(event["item"])
        self.items[self._index(event, item.get("id"), is_new=True)] = item

    def of(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the item that an event goes on with."""
        return self.items.setdefault(self._index(event, event.get("item_id"), is_new=False), {})

    def _index(self, event: dict[str, Any], id: Any, *, is_new: bool) -> int:
        index = event.get("output_index")
        if index is not None:
            index = int(index)
        elif isinstance(id, str) and id in self._by_id:
            index = self._by_id[id]
        elif is_new or (isinstance(id, str) and self._by_id):
            index = max(self._last, len(self.items) - 1) + 1 if self.items else 0
        else:
            index = self._last
        if isinstance(id, str):
            self._by_id[id] = index
        self._last = index
        return index

    def in_order(self) -> list[dict[str, Any]]:
        return [self.items[index] for index in sorted(self.items)]


_GROWING = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.mcp_call_arguments.delta": "arguments",
    "response.code_interpreter_call_code.delta": "code",
}
_PARTS = {
    "response.output_text.delta": ("content", "output_text", "text"),
    "response.refusal.delta": ("content", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_text", "text"),
}


def _continue_item(item: dict[str, Any], kind: str, event: dict[str, Any]) -> None:
    delta = event["delta"]
    if kind in _GROWING:
        name = _GROWING[kind]
        if not isinstance(item.get(name), _Text):
            item[name] = _Text("")
        item[name].pieces.append(delta)
    elif kind in _PARTS:
        list_name, part_type, member = _PARTS[kind]
        if not isinstance(item.get(list_name), _Indexed):
            item[list_name] = _Indexed()
        index = event.get("summary_index" if list_name == "summary" else "content_index") or 0
        item[list_name].add({"index": int(index), "type": part_type, member: delta})
