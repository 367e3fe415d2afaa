"""The texts of one event stream, each with its splitter.

Knows which texts have begun, so that events without a tag need not be parsed,
and holds text that is not yet decided. Pure; used by `filters` and `responses`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from attrs import define, field, frozen

from .added_events import REASONING
from .log_probabilities import LocatedTokens, Token, TokenLists, TokenQueue, text_bytes
from .splitter import HOLD_LIMIT_CHARS, THOUGHT, VISIBLE, Piece, ThinkRule, ThinkSplitter, joined

Key: TypeAlias = tuple[str, ...]
"""Identifies a text by its numbers in the JSON: the index of a choice, or those of output and content."""

_MOST_TEXTS = 4096
"""The most texts of a stream; later ones pass unchanged, because an upstream may number them endlessly."""
_number = re.compile(rb'"(index|output_index|content_index)"[ \t\n\r]*:[ \t\n\r]*([^ \t\n\r,}\]]+)')


def key_of(*numbers: Any) -> Key:
    """Return the key of the text with these numbers."""
    return tuple([repr(0 if number is None else number)[:40] for number in numbers])


def envelope(event: dict[str, Any]) -> dict[str, Any]:
    """Return the short members of an event, from which a similar one can be made."""
    return {
        name: value for name, value in event.items() if not isinstance(value, dict | list) and _short(value)
    }


def _short(value: Any) -> bool:
    return not isinstance(value, str) or len(value) <= 1000


@define  # one is made for each event: frozen, it would take four times as long
class Fed:
    """The released part of a stream's event. Never changed."""

    visible: list[str]
    """The visible text of each of its parts."""
    thoughts: str
    """The thoughts; empty unless they are shown."""
    tokens: list[Token] | None
    """The tokens of the visible text; None if there are none, or if all stay."""
    dropped: bool = False
    """Its tokens cannot be matched to the text, so all are removed."""
    pieces: Sequence[Piece] = ()


@frozen
class Held:
    """The origin of a held text."""

    event: dict[str, Any]
    """Its `envelope`."""
    index: Any = None
    owner: str = "delta"
    """The object with the text: `delta`, `parts` (a list in a delta) or `choice`."""
    lists: TokenLists | None = None


@frozen(eq=False)
class Texts:
    """The splitters of a stream's texts, by their keys."""

    rule: ThinkRule
    splitters: dict[Key, ThinkSplitter] = field(init=False, factory=dict)
    """The open texts: part of one is held, or a block or the text itself begins."""
    queues: dict[Key, TokenQueue] = field(init=False, factory=dict)
    sources: dict[Key, Held] = field(init=False, factory=dict)
    _begun: set[Key] = field(init=False, factory=set)
    """Texts with a visible part: they can have no block at their start any more."""

    @property
    def open(self) -> bool:
        """Whether some text is open."""
        return bool(self.splitters)

    def may_pass(self, data: bytes) -> bool:
        """Return whether events can pass unchanged, found by searches: no tag, and no text that begins.

        Only while nothing is open.
        """
        if self.rule.may_begin_in(data):
            return False
        if self._all_first(data):
            return True
        if b"output_text" not in data and b'"choices"' not in data and b'"message"' not in data:
            return not (self.rule.implicit_start and b'"response' in data)
        numbers: dict[bytes, set[bytes]] = {}
        for name, value in _number.findall(data):
            numbers.setdefault(name, set()).add(value)
        if b"output_index" in numbers:
            if self.rule.implicit_start and b'_text.delta"' not in data:
                return False
            output, content = numbers[b"output_index"], numbers.get(b"content_index", ())
            return (
                len(output) == len(content) == 1
                and (output.pop().decode("latin-1"), content.pop().decode("latin-1")) in self._begun
            )
        return all((n.decode("latin-1"),) in self._begun for n in numbers.get(b"index", (b"0",)))

    def _all_first(self, data: bytes) -> bool:
        """Return whether all texts of the data are the first of their answer and have begun, as is nearly always so."""
        if self.rule.implicit_start and b'"response' in data:
            return False
        numbers = data.count(b'index"')
        if not numbers:
            return False
        if ("0",) in self._begun:
            return numbers == data.count(b'"index":0,') + data.count(b'"index": 0,')
        if ("0", "0") in self._begun:
            return numbers == data.count(b'_index":0,') + data.count(b'_index": 0,')
        return False

    def is_new(self, key: Key) -> bool:
        """Return whether nothing of a text has come yet."""
        return key not in self._begun and key not in self.splitters

    def is_answering(self, key: Key) -> bool:
        """Return whether part of a text is visible, or is about to be."""
        splitter = self.splitters.get(key)
        return splitter is None or splitter.answering

    def holds(self, key: Key) -> bool:
        """Return whether part of a text is held; if not, its origin is forgotten."""
        splitter = self.splitters.get(key)
        if splitter is not None and splitter.holds:
            return True
        self.sources.pop(key, None)
        return False

    def feed(
        self,
        key: Key,
        texts: Sequence[str],
        finishes: bool = False,
        at_start: bool = True,
        lists: TokenLists | None = None,
        located: LocatedTokens | None = None,
    ) -> Fed:
        """Feed the parts that an event adds to a text; `located` has the tokens of its `lists`."""
        splitter = self.splitters.get(key) or self._begin(key, bool(texts), at_start)
        if splitter is None:
            return Fed(list(texts), "", None)
        queue = self.queues.get(key)
        before = len(text_bytes(splitter.undecided)) if lists is not None and queue is None else 0
        fed = [splitter.feed(text) for text in texts]
        if finishes:
            last = splitter.finish()
            fed = [*fed[:-1], fed[-1] + last] if fed else [last]
        pieces = [piece for each in fed for piece in each]
        tokens, dropped = self._tokens(key, before, texts, pieces, lists, located)
        self._note(key, splitter, finishes)
        thoughts = joined(pieces, THOUGHT) if self.rule.mode == REASONING else ""
        return Fed([joined(each) for each in fed], thoughts, tokens, dropped, pieces)

    def _begin(self, key: Key, has_text: bool, at_start: bool) -> ThinkSplitter | None:
        if not has_text:
            return None
        has_begun = key in self._begun
        if not has_begun and len(self._begun) + len(self.splitters) >= _MOST_TEXTS:
            return None
        # The total that is held is bounded too, except for a logarithm of their number.
        limit = HOLD_LIMIT_CHARS // (1 + len(self.splitters))
        splitter = self.splitters[key] = ThinkSplitter(self.rule, at_start, limit)
        if has_begun:
            splitter.state = "text"
        return splitter

    def _tokens(
        self,
        key: Key,
        before: int,
        texts: Sequence[str],
        pieces: list[Piece],
        lists: TokenLists | None,
        located: LocatedTokens | None,
    ) -> tuple[list[Token] | None, bool]:
        """Return the tokens that are shown now (None: those of the event, if any), and whether none can be matched."""
        queue = self.queues.get(key)
        text = "".join(texts)
        if queue is None:
            if lists is None or (joined(pieces) == text and all(kind == VISIBLE for kind, _ in pieces)):
                return None, False
            queue = self.queues[key] = TokenQueue()
            if before:
                queue.push(before)
        if lists is None or lists.sizes is None or located is None:
            queue.push(len(text_bytes(text)))
        else:
            for size, token in zip(lists.sizes, located.tokens(lists), strict=True):
                queue.push(size, token)
        return queue.take(pieces), lists is not None and lists.sizes is None

    def _note(self, key: Key, splitter: ThinkSplitter, finished: bool) -> None:
        """Keep a splitter that has a state, and drop one that has none."""
        if splitter.answering:
            self._begun.add(key)
        if splitter.idle or (finished and splitter.state == "before"):
            del self.splitters[key]
            self.queues.pop(key, None)

    def held(self, numbers: int) -> list[tuple[Key, Held]]:
        """Return the origins of the held texts whose keys have this number of members."""
        return [(key, held) for key, held in self.sources.items() if len(key) == numbers]

    def release(self, key: Key) -> Fed:
        """Return the held part of a text, because the text is over."""
        self.sources.pop(key, None)
        if key not in self.splitters:
            return Fed([""], "", None)
        return self.feed(key, (), finishes=True)

    def forget(self, key: Key) -> None:
        """Forget a text that is over."""
        self.splitters.pop(key, None)
        self.queues.pop(key, None)
        self.sources.pop(key, None)
