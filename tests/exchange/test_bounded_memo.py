"""What strangers send is not remembered: every memo of the package, by enumeration."""

from __future__ import annotations

import importlib
import pkgutil
from threading import Thread

import openai_proxy
from openai_proxy.exchange.bounded_memo import LONGEST_KEPT, BoundedMemo, memo_of, short_memo
from openai_proxy.wire.headers import scan_request


def functions():
    """Every function of the package, by its name."""
    found = {}
    for module in pkgutil.walk_packages(openai_proxy.__path__, "openai_proxy."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            memo = memo_of(value)
            if (
                callable(value)
                and getattr(value if memo is None else memo.find, "__module__", None) == module.name
            ):
                found[f"{module.name}.{name}"] = value
    return found


def memos():
    """Every memo of a function of the package, by that one's name."""
    return {name: memo for name, value in functions().items() if (memo := memo_of(value)) is not None}


def test_every_memo_is_bounded():
    """There is one class for them; a cache of functools remembers one value at most, as of a file's name."""
    others = {
        name
        for name, function in functions().items()
        if hasattr(function, "cache_clear") and function.cache_parameters()["maxsize"] != 1
    }
    assert others == set()


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
    assert sorted(map(len, memo_of(length))) == [1, LONGEST_KEPT]


def test_the_lines_of_a_head_leave_nothing_long():
    """A Connection header of 8,500 names was remembered 256 times: 246 MiB for good."""
    asked = (b"Connection", b"Content-Type", b"Upgrade", b"User-Agent", b"Proxy-Connection")
    for (
        name
    ) in asked:  # other tests may have filled a memo: the names of the lines themselves may be remembered
        scan_request([(b"Host", b"a"), (name, b"a")], True, b"p")
    before = {name: set(memo) for name, memo in memos().items()}
    names = b",".join(b"%x" % number for number in range(8500))
    for name in asked:
        scan_request([(b"Host", b"a"), (name, names)], True, b"p")
    scan_request([(b"Host", b"a" * 60_000)], True, b"p")
    new = [key for name, memo in memos().items() for key in memo if key not in before[name]]
    assert new == []


def test_the_older_half_goes_when_a_memo_is_full():
    """However many keys strangers make up, the last ones are there."""
    memo = BoundedMemo(4)
    for number in range(11):
        memo.remember(number, str(number), 1)
        assert number in memo
        assert len(memo) <= 4
    assert memo == {8: "8", 9: "9", 10: "10"}


def test_a_memo_of_one_entry_keeps_the_last():
    """The half of one is that one."""
    memo = BoundedMemo(1)
    for number in range(3):
        memo.remember(number, None, 1)
    assert memo == {2: None}


def test_an_entry_that_is_remembered_again_pushes_nothing_out():
    """It has one value, the last one."""
    memo = BoundedMemo(2)
    for key, value in (("a", 1), ("b", 2), ("a", None)):
        memo.remember(key, value, 1)
    assert memo == {"a": None, "b": 2}


def test_an_entry_that_is_too_large_is_not_kept():
    """What was there under its key stays: it is still what was found then."""
    memo = BoundedMemo(2, longest=5)
    memo.remember("a", 1, 5)
    memo.remember("b", 2, 6)
    assert memo == {"a": 1}


def test_a_memo_keeps_only_what_it_may():
    """A result that must not stay in memory is found anew each time."""
    asked = []

    @short_memo(8, keeps=lambda text, shown: text == shown)
    def hidden(text: str) -> str:
        asked.append(text)
        return text.replace("secret", "")

    assert [hidden(text) for text in ("a", "a", "a secret", "a secret")] == ["a", "a", "a ", "a "]
    assert asked == ["a", "a secret", "a secret"]


def test_a_memo_may_be_used_by_several_threads():
    """Lines of logs are scrubbed by threads too."""
    memo = BoundedMemo(8)

    def work(first: int) -> None:
        for number in range(2000):
            memo.remember((first * number) % 50, number, 1)

    threads = [Thread(target=work, args=(first,)) for first in (3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memo) <= 8 + len(threads)
