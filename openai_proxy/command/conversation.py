"""Print a line of the exchange log as a conversation for people. Pure.

The text of clients and models is shown with its line ends; control characters,
which a terminal would obey, are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Turn = tuple[str, str]
"""The speaker, and the text."""
_KEPT = "\n\t"


def printable(text: str) -> str:
    """Return `text` with non-printing characters escaped, except line ends and tabs. O(n)."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in _KEPT else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def conversation(record: dict[str, Any]) -> str:
    """Return the whole exchange: a head of two lines, then a paragraph for each turn."""
    request, response = _object(record.get("request")), _object(record.get("response"))
    paragraphs = [head(record)]
    turns = [*asked(request.get("body")), *answered(response.get("body"))]
    paragraphs += [f"[{who}]\n{text}" if text else f"[{who}]" for who, text in turns]
    return printable("\n\n".join(paragraphs)) + "\n"


def head(record: dict[str, Any]) -> str:
    """Return the lines above a conversation: the request, then its result."""
    request, response = _object(record.get("request")), _object(record.get("response"))
    first = f"{_word(record.get('timestamp'))} {_word(request.get('method'))} {_word(request.get('path'))}"
    first += f" {_word(response.get('status_code'))} {_word(record.get('outcome'))}"
    usage, cost = record.get("usage"), record.get("cost_usd")
    facts = [f"key {_word(record.get('key'))}", f"model {_word(record.get('model'))}"]
    if isinstance(usage, dict):
        facts.append(f"{_word(usage.get('input_tokens'))} tokens in, {_word(usage.get('output_tokens'))} out")
    if isinstance(cost, int | float):
        facts.append(f"${cost:.6f}")
    facts += [f"{_word(record.get('duration_s'))} s", f"id {_word(record.get('id'))}"]
    if record.get("error_code"):
        facts.append(f"error {_word(record['error_code'])}")
    return f"{first}\n{', '.join(facts)}"


def asked(body: Any) -> Iterator[Turn]:
    """Yield the turns of a request's body: messages, instructions and input, a prompt, or the whole body."""
    if not isinstance(body, dict):
        yield from _whole("request", body)
        return
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        yield "tools", ", ".join(_tool(each) for each in tools)
    given = [name for name in ("messages", "instructions", "input", "prompt") if body.get(name) is not None]
    for name in given:
        value = body[name]
        if name == "messages":
            yield from _messages(value)
        elif name == "input" and isinstance(value, list):
            yield from _items(value, "user")
        else:
            yield {"instructions": "system"}.get(name, "user"), _text(value)
    if not given:
        yield from _whole("request", body)


def answered(body: Any) -> Iterator[Turn]:
    """Yield the turns of a response's body: choices, output items, an error, or the whole body."""
    if not isinstance(body, dict):
        yield from _whole("response", body)
    elif isinstance(body.get("error"), dict):
        yield "error", _text(body["error"].get("message"))
    elif isinstance(body.get("choices"), list):
        for choice in body["choices"]:
            choice = _object(choice)
            message = choice.get("message")
            if isinstance(message, dict):
                yield from _message(message, "assistant")
            else:
                yield "assistant", _text(choice.get("text"))
    elif isinstance(body.get("output"), list):
        yield from _items(body["output"], "assistant")
    elif isinstance(body.get("data"), list) and body["data"] and "embedding" in _object(body["data"][0]):
        yield "response", f"{len(body['data'])} embeddings"
    else:
        yield from _whole("response", body)


def _messages(messages: Any) -> Iterator[Turn]:
    if not isinstance(messages, list):
        yield from _whole("messages", messages)
        return
    for message in messages:
        if isinstance(message, dict):
            yield from _message(message, "user")
        else:
            yield "user", _text(message)


def _message(message: dict[str, Any], role: str) -> Iterator[Turn]:
    """Yield a message of the chat: its reasoning, its text, its tool calls."""
    who = _word(message.get("role") or role)
    if message.get("tool_call_id"):
        who += f" {_word(message['tool_call_id'])}"
    elif message.get("name"):
        who += f" {_word(message['name'])}"
    for thought in ("reasoning_content", "reasoning"):
        if isinstance(message.get(thought), str) and message[thought]:
            yield f"{who} thinks", message[thought]
    calls = message.get("tool_calls")
    text = _text(message.get("content"))
    if text or not calls:
        yield who, text
    if message.get("refusal"):
        yield f"{who} refuses", _text(message["refusal"])
    for call in calls if isinstance(calls, list) else ():
        call = _object(call)
        function = _object(call.get("function") or call.get("custom"))
        given = function.get("arguments", function.get("input"))
        yield f"{who} calls {_word(function.get('name'))} {_word(call.get('id'))}", _text(given)


def _items(items: list[Any], role: str) -> Iterator[Turn]:
    """Yield the items of a Responses input or output."""
    for each in items:
        item = _object(each)
        kind = item.get("type", "message" if "content" in item else None)
        if not isinstance(each, dict):
            yield role, _text(each)
        elif kind == "message":
            yield from _message(item, role)
        elif kind in ("function_call", "custom_tool_call"):
            name, call_id = _word(item.get("name")), _word(item.get("call_id"))
            yield f"assistant calls {name} {call_id}", _text(item.get("arguments", item.get("input")))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            yield f"tool {_word(item.get('call_id'))}", _text(item.get("output"))
        elif kind == "reasoning":
            yield "assistant thinks", _text(item.get("summary") or item.get("content"))
        else:
            yield from _whole(_word(kind), item)


def _tool(tool: Any) -> str:
    tool = _object(tool)
    return _word(_object(tool.get("function")).get("name") or tool.get("name") or tool.get("type"))


def _text(value: Any) -> str:
    """Return the text of a content: a string, parts of several kinds, or JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, dict | str) for each in value):
        return "\n".join(map(_part, value))
    return _json(value)


def _part(part: dict[str, Any] | str) -> str:
    if isinstance(part, str):
        return part
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    kind = _word(part.get("type"))
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if isinstance(url, str) and not url.startswith("data:"):
        return f"({kind}: {url})"
    return f"({kind})"


def _whole(who: str, body: Any) -> Iterator[Turn]:
    """Yield a body that is no conversation, or a remark that the log did not keep it."""
    if body is None:
        yield who, "(not recorded)"
    elif isinstance(body, dict) and "sha256" in body and "bytes" in body:
        yield who, f"({_word(body['bytes'])} bytes, not recorded)"
    elif isinstance(body, str):
        yield who, body
    else:
        yield who, _json(body)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        return "(nested too deep to be shown)"


def texts(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, except names of members."""
    waiting: list[Iterable[Any]] = [(value,)]
    while waiting:
        for each in waiting.pop():
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                waiting.append(each.values())
            elif isinstance(each, list):
                waiting.append(each)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    """Return a value on one line; `-` if there is none."""
    if value is None or value == "":
        return "-"
    text = str(value)[:200]
    return text.replace("\n", "\\n").replace("\t", "\\t")
