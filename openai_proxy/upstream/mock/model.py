"""What the mock models say: one way for Chat Completions, Completions and Responses. Pure."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from .reply import Refusal, clean, rendered
from .schema import sample
from .words import MOST_TOKENS, cut, digest_of, stream_of, text_from, tokens_in

ECHO, TEXT, TOOLS = "mock-echo", "mock-text", "mock-tools"
MOST_CHOICES = 128


@frozen
class Tool:
    """A function that a request offers."""

    name: str
    schema: Any


@frozen
class Call:
    """A call of a tool."""

    id: str
    name: str
    arguments: str


@frozen
class Said:
    """One choice: a text, or calls of tools."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    is_cut: bool = False
    """It ended at the limit of tokens."""

    @property
    def tokens(self) -> int:
        """The model tokens that it took."""
        return tokens_in(self.text) + sum(tokens_in(call.name + call.arguments) for call in self.calls)


@frozen
class Asked:
    """What decides an answer, whichever endpoint was asked."""

    model: str
    seed: bytes
    """Digest of the request, without what changes only how the answer is delivered."""
    last_text: str = ""
    """What the user said last; after calls of tools, what the last one answered."""
    has_results: bool = False
    """The last message is the answer of a tool."""
    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    may_call: bool = True
    wanted: str | None = None
    """The only tool that may be called."""
    schema: Any = field(default=None)
    """What a structured output must fit; None for plain text."""
    max_tokens: int | None = None

    def say(self, index: int = 0) -> Said:
        """Return the choice with this number."""
        seed = digest_of(self.seed, b"%d" % index)
        tool = self._tool(seed)
        if tool is not None:
            arguments = rendered(_object(sample(tool.schema, seed))).decode("utf-8", "replace")
            return Said(calls=(Call("call_" + seed.hex()[:24], tool.name, arguments),))
        text, is_cut = cut(self._text(seed), self.max_tokens)
        return Said(text, is_cut=is_cut)

    def _tool(self, seed: bytes) -> Tool | None:
        tools = [each for each in self.tools if self.wanted in (None, each.name)]
        if not tools or not self.may_call:
            return None
        if self.must_call or (self.model == TOOLS and not self.has_results):
            return tools[int.from_bytes(stream_of(seed, 2), "big") % len(tools)]
        return None

    def _text(self, seed: bytes) -> str:
        if self.schema is not None:
            return rendered(_object(sample(self.schema, seed))).decode("utf-8", "replace")
        if self.model == ECHO:
            return clean(self.last_text[: 4 * MOST_TOKENS + 1])
        if self.model == TOOLS and self.has_results:
            return clean("The tool answered: " + self.last_text[: 4 * MOST_TOKENS])
        return text_from(seed)


def _object(value: Any) -> Any:
    return value if isinstance(value, dict) else {} if value is None else {"value": value}


def model_of(document: dict[str, Any], named_in_path: str | None = None) -> str:
    """Return the model of a request; Refusal without one."""
    model = named_in_path if named_in_path is not None else document.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal("you must provide a model parameter", param="model")
    return clean(model[:256])


def count_of(document: dict[str, Any], names: tuple[str, ...], most: int | None = None) -> int | None:
    """Return the first of these members that is given, a whole number from 1; Refusal for anything else."""
    for name in names:
        value = document.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Refusal(f"Invalid '{name}': expected a whole number from 1 on.", param=name)
        if most is not None and value > most:
            raise Refusal(f"Invalid '{name}': expected at most {most}.", param=name)
        return value
    return None


def required(document: dict[str, Any], *names: str) -> None:
    """Refuse a request without one of these members."""
    for name in names:
        if document.get(name) is None:
            raise Refusal(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )


def text_of(content: Any) -> str:
    """Return the text of a message's content: text, or a list of parts."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    if isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                texts.append(text)
    return "\n".join(texts)


def tools_of(listed: Any) -> tuple[Tool, ...]:
    """Return the functions among the tools of a request, in the form of either endpoint."""
    tools = []
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict) or each.get("type", "function") != "function":
            continue
        function = each.get("function", each)
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name:
            tools.append(Tool(clean(name), function.get("parameters") or {"type": "object"}))
    return tuple(tools)


def choice_of_tools(choice: Any) -> tuple[bool, bool, str | None]:
    """Return whether a tool must be called, whether one may be, and which one."""
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, dict) else None
        return True, True, name if isinstance(name, str) else None
    return choice == "required", choice != "none", None


def schema_of(form: Any) -> Any:
    """Return what a response format asks for: a schema, or None for plain text. Either endpoint's form."""
    if not isinstance(form, dict) or form.get("type") not in ("json_object", "json_schema"):
        return None
    inner = form.get("json_schema", form)
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else {"type": "object", "properties": {"text": {}}}
