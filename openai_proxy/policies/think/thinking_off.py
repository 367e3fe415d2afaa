"""Whether a request turns the model's thinking off, in any of the ways that servers know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SWITCHES = ("enable_thinking", "thinking", "think")
"""Of chat templates (vLLM, SGLang, llama.cpp), DashScope and SiliconFlow; DeepSeek's template; Ollama."""


def turns_thinking_off(document: Mapping[str, Any]) -> bool:
    """Return whether the JSON of a request says that the model shall not think."""
    if document.get("reasoning_effort") == "none" or _is_off(document):
        return True
    template, reasoning, thinking = (
        document.get(name) for name in ("chat_template_kwargs", "reasoning", "thinking")
    )
    return (
        (isinstance(template, dict) and _is_off(template))
        or (
            isinstance(reasoning, dict)
            and (reasoning.get("effort") == "none" or reasoning.get("enabled") is False)
        )
        or (isinstance(thinking, dict) and thinking.get("type") == "disabled")
    )


def _is_off(switches: Mapping[str, Any]) -> bool:
    return any(switches.get(name) is False for name in _SWITCHES)
