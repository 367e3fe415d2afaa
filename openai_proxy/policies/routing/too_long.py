"""Recognise an answer which says that a request is too long for the model of its upstream. Pure."""

from __future__ import annotations

import re

from ...exchange.record import HeaderPairs
from .error_answer import error_document

_CODES = frozenset(
    ("context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded")
)
"""What `error.code` is at OpenAI and GitHub, and `error.type` at llama.cpp."""
_WORDS = (
    "context length",  # OpenAI, vLLM, SGLang, Mistral, OpenRouter
    "context limit",
    "context size",  # llama.cpp
    "context window",
    "exceeded model token limit",  # Moonshot
    "input is too long",  # Bedrock
    "maximum allowed input length",
    "maximum prompt length",  # xAI
    "prompt is too long",  # Anthropic
    "range of input length",  # Alibaba
    "reduce the length of the messages",  # Groq
)
_too_many = re.compile(r"token count .{0,40}exceeds|`inputs` .{0,60}tokens|`inputs` tokens")
"""Gemini and GitHub; text-generation-inference."""
_LONGEST_MESSAGE = 1000


def says_too_long(body: bytes, headers: HeaderPairs) -> bool:
    """Return whether an error that begins with `body` is about the length of the context.

    Decides by `error.code` and `error.type`, else by the words of the message,
    which most servers have beside no code, older vLLM not even in an `error`,
    and text-generation-inference in place of one.
    """
    document = error_document(body, headers)
    error = document.get("error") or document
    if not isinstance(error, dict):
        return isinstance(error, str) and _means_too_long(error)
    if any(isinstance(word, str) and word in _CODES for word in (error.get("code"), error.get("type"))):
        return True
    message = error.get("message")
    return isinstance(message, str) and _means_too_long(message)


def _means_too_long(message: str) -> bool:
    message = message[:_LONGEST_MESSAGE].lower()
    return any(map(message.__contains__, _WORDS)) or bool(_too_many.search(message))
