"""Embeddings of the mock upstream: unit vectors that follow only from the text. Pure."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from typing import Any

from .model import count_of, required
from .reply import Pieces, Refusal, Reply, rendered
from .words import digest_of, stream_of

DIMENSIONS = 1536
MOST_DIMENSIONS = 4096
MOST_INPUTS = 2048


def vector(text: bytes, dimensions: int) -> array[float]:
    """Return the unit vector of a text, in 32-bit floats; with fewer dimensions it has the same direction."""
    numbers = array("h", stream_of(digest_of(b"embedding", text), 2 * dimensions))
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return array("f", [number / length for number in numbers])


def embeddings(document: dict[str, Any], model: str, prompt_tokens: int) -> Reply:
    """Answer POST embeddings; the vectors are made one by one while they are read."""
    required(document, "input")
    inputs = _inputs(document["input"])
    dimensions = count_of(document, ("dimensions",), MOST_DIMENSIONS) or DIMENSIONS
    form = document.get("encoding_format", "float")
    if form not in ("float", "base64", None):
        raise Refusal("Invalid 'encoding_format': expected 'float' or 'base64'.", param="encoding_format")
    return Reply(pieces=_document(inputs, dimensions, form == "base64", model, prompt_tokens))


def _document(
    inputs: list[bytes], dimensions: int, in_base64: bool, model: str, prompt_tokens: int
) -> Pieces:
    for index, text in enumerate(inputs):
        values = vector(text, dimensions)
        embedding: Any = _base64(values) if in_base64 else values.tolist()
        entry = {"object": "embedding", "index": index, "embedding": embedding}
        yield 0, (b"," if index else b'{"object":"list","data":[') + rendered(entry)
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    yield 0, b'],"model":' + rendered(model) + b',"usage":' + rendered(usage) + b"}"


def _base64(values: array[float]) -> str:
    if sys.byteorder == "big":
        values = array("f", values)
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode("ascii")


def _inputs(given: Any) -> list[bytes]:
    """Return each input as bytes: a text, a list of texts, of token ids, or of lists of token ids."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and given and all(isinstance(each, int) for each in given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise Refusal("Invalid 'input': expected a text or a list that is not empty.", param="input")
    if len(given) > MOST_INPUTS:
        raise Refusal(f"Invalid 'input': expected at most {MOST_INPUTS} items.", param="input")
    if not all(isinstance(each, str | list) and each for each in given):
        raise Refusal("Invalid 'input': expected texts or lists of token ids, none empty.", param="input")
    return [
        each.encode("utf-8", "surrogatepass") if isinstance(each, str) else rendered(each) for each in given
    ]
