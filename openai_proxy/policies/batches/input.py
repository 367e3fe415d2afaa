"""Read the models, endpoints and tokens that the input file of a batch requests. Pure.

The file is JSONL, one request a line, and is read while it is uploaded. Its
bytes are neither stored nor changed; only the line that is arriving is held.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from attrs import define, field, frozen

from ...exchange.errors import InvalidJSON, ProxyError
from ...exchange.usage import Usage
from ...wire.json_members import iter_members
from ...wire.request_json import is_costly, outline, read_request
from ...wire.targets import map_target
from ..authorize.named_models import models_in, top_level_models, unmeasured_param
from ..usage.estimate import prompt_tokens, requested_output_tokens

MOST_BYTES = 200 * 1024 * 1024
"""OpenAI accepts no larger file either."""
LONGEST_LINE = 8 * 1024 * 1024
_MOST_NAMES = 64
"""The largest number of models, and of endpoints, in one file."""
_LONGEST_NAME = 256
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"

Price = Callable[[str, Usage, int, float], "float | None"]
"""Takes a model, the usage of all its requests together, their number and the time; returns None without a price."""


@define
class ModelUse:
    """The lines that ask for one model, and the estimate of their tokens."""

    lines: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@frozen
class BatchInput:
    """What was read from an input file.

    `uses` are by the model that is asked for; `further` are models that lines
    name elsewhere (tools, fallbacks). `endpoints` are names as `wire.targets`
    gives them. `unmeasured` names the line that may cost more than its tokens.
    `problem` says what in the file cannot be read; if it is set, nothing else
    counts. Neither contains anything from the file.
    """

    uses: Mapping[str, ModelUse] = field(factory=dict)
    further: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    size_bytes: int = 0
    unmeasured: str | None = None
    problem: str | None = None

    @property
    def models(self) -> list[str]:
        """All models that the file names."""
        return [*self.uses, *self.further]

    def estimated_usd(self, price: Price, timestamp: float) -> float:
        """Return the estimated cost of the batch; lines whose model has no price count as 0."""
        costs = (
            price(model, Usage(use.input_tokens, use.output_tokens), use.lines, timestamp)
            for model, use in self.uses.items()
        )
        return sum(cost or 0.0 for cost in costs)


def dump_input(contents: BatchInput) -> bytes:
    """Return `contents` as bytes that `load_input` reads."""
    uses = {model: [use.lines, use.input_tokens, use.output_tokens] for model, use in contents.uses.items()}
    further, endpoints = list(contents.further), list(contents.endpoints)
    return orjson.dumps(
        [uses, further, endpoints, contents.size_bytes, contents.unmeasured, contents.problem]
    )


def load_input(data: bytes) -> BatchInput:
    """Return what `dump_input` wrote; ValueError for anything else."""
    uses, further, endpoints, size_bytes, unmeasured, problem = orjson.loads(data)
    return BatchInput(
        {model: ModelUse(*counts) for model, counts in uses.items()},
        tuple(further),
        tuple(endpoints),
        size_bytes,
        unmeasured,
        problem,
    )


def endpoint_of(url: object) -> tuple[str, str | None] | None:
    """Return the endpoint that a line's `url` names, and the model in it if any; None if it is not one of the API's endpoints."""
    if not isinstance(url, str) or len(url) > _LONGEST_NAME or "?" in url:
        return None
    try:
        path = map_target(url.encode("utf-8", "surrogatepass"))
    except ProxyError:
        return None
    return path.named, path.model


class BatchLines:
    """Reads the lines of an input file; O(n), and holds one line at most.

    Once something cannot be read, nothing more is read.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._line = bytearray()
        self._number = 0
        self._uses: dict[str, ModelUse] = {}
        self._further: dict[str, None] = {}
        self._endpoints: dict[str, tuple[str, str | None]] = {}
        """By the `url` as the lines write it."""
        self._unmeasured: str | None = None
        self._problem: str | None = None

    @property
    def held_bytes(self) -> int:
        """The size of the line that is arriving."""
        return len(self._line)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self.size_bytes += len(data)
        if self._problem is not None:
            return
        if self.size_bytes > MOST_BYTES:
            self._give_up(f"it is larger than {MOST_BYTES // 1024 // 1024} MiB")
            return
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            if self._line:
                self._line += data[at:end]
                line, self._line = bytes(self._line), bytearray()
            else:
                line = data[at:end]
            self._take(line)
            at = end + 1
        if self._problem is None:
            self._line += data[at:]
            if len(self._line) > LONGEST_LINE:
                self._too_long()

    def finish(self) -> BatchInput:
        """Return what was read, once the file is whole."""
        line, self._line = bytes(self._line), bytearray()
        self._take(line)
        if self._problem is None and not self._uses:
            self._give_up("it has no line")
        if self._problem is not None:
            return BatchInput(size_bytes=self.size_bytes, problem=self._problem)
        endpoints = dict.fromkeys(name for name, _ in self._endpoints.values())
        further = [model for model in self._further if model not in self._uses]
        return BatchInput(self._uses, tuple(further), tuple(endpoints), self.size_bytes, self._unmeasured)

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._line = bytearray()

    def _too_long(self) -> None:
        self._give_up(
            f"line {self._number + 1} is longer than the {LONGEST_LINE // 1024 // 1024} MiB that are read of one"
        )

    def _take(self, line: bytes) -> None:
        if self._problem is not None:
            return
        if len(line) > LONGEST_LINE:
            self._too_long()
            return
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(_BOM)
        line = line.removesuffix(b"\r")
        if not line.strip(b" \t"):
            return
        problem = self._read(line)
        if problem is not None:
            self._give_up(f"line {self._number} {problem}")

    def _read(self, line: bytes) -> str | None:
        """Count one line; return what in it cannot be read, None if all could."""
        if b"\r" in line or is_costly(line):  # some parsers end a line at a CR
            return "is no JSON object on one line, or one of too many values"
        members = _members(line)
        if members is None:
            return "is no JSON object, or one of too many values"
        if any(method != "POST" for method in members["method"]):
            return "has another method than POST"
        if len(members["body"]) != 1 or len(members["url"]) != 1:
            return "has no url and body, or more than one"
        url = members["url"][0]
        return self._note_url(url) or self._note_body(members["body"][0], self._endpoints[url][1])

    def _note_url(self, url: Any) -> str | None:
        if isinstance(url, str) and url in self._endpoints:
            return None
        endpoint = endpoint_of(url)
        if endpoint is None or len(self._endpoints) >= _MOST_NAMES:
            return "has a url that is no endpoint of the API"
        self._endpoints[url] = endpoint
        return None

    def _note_body(self, body: bytes, path_model: str | None) -> str | None:
        try:
            return self._note_document(body, read_request(body).document, path_model)
        except InvalidJSON:
            return "has a body that is no JSON object, or one of too many values"

    def _note_document(self, body: bytes, document: dict[str, Any], path_model: str | None) -> str | None:
        kept, _ = outline(document)
        model: Any = path_model or kept.get("model")
        named: list[Any] = [model, *models_in(body, kept)]
        if not all(map(_is_name, named)):
            return "names no model, or one that cannot be read"
        if len(named) > 2 and len(set(top_level_models(body))) > 1:
            return "names more than one model"
        contents = {*self._uses, *self._further, *named}
        if len(contents) > _MOST_NAMES:
            return f"names one model more than the {_MOST_NAMES} that are read of a file"
        self._further.update(dict.fromkeys(each for each in named if each != model))
        use = self._uses.setdefault(model, ModelUse())
        use.lines += 1
        use.input_tokens += prompt_tokens(body, document)
        use.output_tokens += requested_output_tokens(kept)
        if self._unmeasured is None:
            param = unmeasured_param(body, kept)
            self._unmeasured = None if param is None else f"line {self._number} has {param}"
        return None


def _is_name(model: object) -> bool:
    if not isinstance(model, str) or not 0 < len(model) <= _LONGEST_NAME:
        return False
    return model.isascii() or not _SURROGATE.search(model)


def _members(line: bytes) -> dict[str, list[Any]] | None:
    """Return the values of a line's members, in any spelling, with every duplicate; `body` as its raw text."""
    found: dict[str, list[Any]] = {"method": [], "url": [], "body": []}
    try:
        if read_request(line).text is not line:  # another encoding
            return None
        for name, (first, end) in iter_members(line, len(line) - len(line.lstrip(b" \t"))):
            folded = name.casefold()
            if folded in found:
                text = line[first:end]
                found[folded].append(text if folded == "body" else orjson.loads(text))
    except (ValueError, InvalidJSON):
        return None
    return found
