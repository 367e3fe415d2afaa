"""Requests that turn thinking off, in the ways of the servers that think."""

import pytest

from openai_proxy.policies.think.thinking_off import turns_thinking_off


@pytest.mark.parametrize(
    "document",
    [
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"thinking": False, "x": 1}},
        {"enable_thinking": False},
        {"think": False},
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False}},
        {"thinking": {"type": "disabled"}},
    ],
)
def test_off(document):
    """As clients say it to vLLM, SGLang, llama.cpp, DashScope, Ollama, OpenAI, OpenRouter and DeepSeek."""
    assert turns_thinking_off({"model": "m", **document})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": None}},
        {"chat_template_kwargs": "enable_thinking"},
        {"enable_thinking": 0},
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "low", "enabled": True}},
        {"reasoning": []},
        {"thinking": {"type": "enabled"}},
    ],
)
def test_on(document):
    """Whatever says nothing of the kind."""
    assert not turns_thinking_off({"model": "m", **document})
