"""What strangers send is not remembered: every memo of the package, by enumeration."""

from __future__ import annotations

import importlib
import pkgutil

import openai_proxy
from openai_proxy.exchange.short_memo import LONGEST_KEPT, short_memo
from openai_proxy.wire.headers import scan_request

BOUNDED_OTHERWISE = {
    "openai_proxy.wire.targets._map_cached": "targets of at most 64 bytes",
    "openai_proxy.observe.exchange_log.assembly.texts._remembered": "events of at most 1 KiB",
    "openai_proxy.observe.exchange_log.files._kept_file_name": "models of at most 256 characters, and the day",
    "openai_proxy.observe.exchange_log.line._second": "whole seconds",
    "openai_proxy.observe.otel.observation._server": "URLs of the configuration",
}
"""Memos that are no short_memo, and why nothing long can get into them."""


def memos():
    """Every function of the package that remembers, by its name."""
    found = {}
    for module in pkgutil.walk_packages(openai_proxy.__path__, "openai_proxy."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            if callable(getattr(value, "cache_info", None)) and value.__module__ == module.name:
                found[f"{module.name}.{name}"] = value
    return found


def test_every_memo_is_a_short_one_or_is_listed_with_its_bound():
    """A new one cannot be forgotten."""
    others = {
        name
        for name, memo in memos().items()
        if hasattr(memo, "cache_clear") and memo.cache_parameters()["maxsize"] != 1
    }
    assert others <= set(BOUNDED_OTHERWISE)


def test_short_values_are_remembered_and_long_ones_are_not():
    """Bytes or text: up to the bound."""
    asked = []

    @short_memo(8)
    def length(value: bytes) -> int:
        asked.append(value)
        return len(value)

    for size in (1, LONGEST_KEPT, LONGEST_KEPT + 1):
        assert [length(b"x" * size) for _ in range(3)] == [size] * 3
    assert [len(value) for value in asked] == [1, LONGEST_KEPT] + [LONGEST_KEPT + 1] * 3
    assert length.cache_info().currsize == 2


def test_the_lines_of_a_head_leave_nothing_long():
    """A Connection header of 8,500 names was remembered 256 times: 246 MiB for good."""
    before = {name: memo.cache_info().currsize for name, memo in memos().items()}
    names = b",".join(b"%x" % number for number in range(8500))
    for name in (b"Connection", b"Content-Type", b"Upgrade", b"User-Agent", b"Proxy-Connection"):
        scan_request([(b"Host", b"a"), (name, names)], True, b"p")
    scan_request([(b"Host", b"a" * 60_000)], True, b"p")
    after = {name: memo.cache_info().currsize for name, memo in memos().items()}
    assert sum(after.values()) - sum(before.values()) <= 1  # the short Host
