"""How many steps the matcher of `re` takes: a backtracking matcher of its own, which counts.

`re` cannot be asked. This one walks the pattern that `re` itself has parsed,
tries the same alternatives in the same order, and counts each character
looked at. Whatever it finds is compared with what `re` has found, so that a
mistake here cannot pass for a cheap pattern.
"""

from __future__ import annotations

import re
import sys

try:
    from re import _constants as c
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as c  # type: ignore
    import sre_parse as parser  # type: ignore

_WORD = re.compile(r"\w")
_SPACE = re.compile(r"\s")
_DIGIT = re.compile(r"\d")
_built: dict = {}
_DEEP = 10_000_000
"""Calls within calls: the matcher goes as deep as its input is long."""


class Steps:
    """The steps of all matches so far, and the text of the last one as numbers."""

    def __init__(self):
        self.count = 0
        self._text = None
        self._codes = None

    def codes(self, text):
        if isinstance(text, str):
            if text is not self._text:
                self._text, self._codes = text, list(map(ord, text))
            return self._codes
        return bytes(text) if not isinstance(text, bytes) else text

    def of_match(self, pattern, text, at, end, full):
        """Count a match at exactly `at`; return where it ended, or None."""
        matcher, _ = _matcher(pattern)
        run = _Run(self, self.codes(text), end)
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(_DEEP)
        try:
            return matcher(run, at, (lambda p: p if p == end else None) if full else _id)
        finally:
            sys.setrecursionlimit(before)

    def of_search(self, pattern, text, at, end):
        """Count a search from `at`; return the span found, or None."""
        matcher, first = _matcher(pattern)
        codes = self.codes(text)
        run = _Run(self, codes, end)
        begun = at
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(_DEEP)
        try:
            for start in range(begun, end + 1):
                if first is None or (start < end and (codes[start] > 255 or first[codes[start]])):
                    found = matcher(run, start, _id)
                    if found is not None:
                        self.count += start - begun + 1
                        return start, found
        finally:
            sys.setrecursionlimit(before)
        self.count += max(end - begun, 0) + 1
        return None


class _Run:
    __slots__ = ("codes", "end", "steps")

    def __init__(self, steps, codes, end):
        self.steps, self.codes, self.end = steps, codes, end


def _id(at):
    return at


def _matcher(pattern):
    built = _built.get(pattern)
    if built is None:
        tree = parser.parse(
            pattern.pattern,
            pattern.flags & ~re.DEBUG & ~256
            if isinstance(pattern.pattern, str)
            else pattern.flags & ~re.DEBUG,
        )
        matcher = _sequence(list(tree), pattern.flags)
        built = _built[pattern] = matcher, _first_of(list(tree), pattern.flags)
    return built


def _first_of(nodes, flags):
    """Return a table of the bytes that a match may begin with, or None if that is not plain to see."""
    for op, arg in nodes:
        if op is c.AT or op in (c.ASSERT, c.ASSERT_NOT):
            continue
        if op is c.SUBPATTERN:
            return _first_of(list(arg[3]), (flags | arg[1]) & ~arg[2])
        if op is c.BRANCH:
            tables = [_first_of(list(each), flags) for each in arg[1]]
            return None if None in tables else [any(t[i] for t in tables) for i in range(256)]
        if op in _REPEATS and arg[0] > 0:
            return _first_of(list(arg[2]), flags)
        predicate = _predicate(op, arg, flags)
        return None if predicate is None else [predicate(i) for i in range(256)]
    return None


_REPEATS = {c.MAX_REPEAT, c.MIN_REPEAT}
_POSSESSIVE = getattr(c, "POSSESSIVE_REPEAT", None)
_ATOMIC = getattr(c, "ATOMIC_GROUP", None)


def _predicate(op, arg, flags):
    fold = bool(flags & re.IGNORECASE)
    if op is c.LITERAL:
        wanted = _folded(arg) if fold else {arg}
        return lambda code: code in wanted
    if op is c.NOT_LITERAL:
        unwanted = _folded(arg) if fold else {arg}
        return lambda code: code not in unwanted
    if op is c.ANY:
        return (lambda code: True) if flags & re.DOTALL else (lambda code: code != 10)
    if op is c.IN:
        negate = arg[0][0] is c.NEGATE
        tests = [_class_test(kind, value, fold) for kind, value in arg if kind is not c.NEGATE]
        return lambda code: any(test(code) for test in tests) != negate
    return None


def _folded(code):
    text = chr(code)
    return {ord(each) for each in (text, text.lower(), text.upper()) if len(each) == 1}


def _class_test(kind, value, fold):
    if kind is c.LITERAL:
        wanted = _folded(value) if fold else {value}
        return lambda code: code in wanted
    if kind is c.RANGE:
        low, high = value
        if not fold:
            return lambda code: low <= code <= high
        return lambda code: any(low <= each <= high for each in _folded(code))
    table = {c.CATEGORY_WORD: _WORD, c.CATEGORY_SPACE: _SPACE, c.CATEGORY_DIGIT: _DIGIT}
    negated = {c.CATEGORY_NOT_WORD: _WORD, c.CATEGORY_NOT_SPACE: _SPACE, c.CATEGORY_NOT_DIGIT: _DIGIT}
    if value in table:
        return lambda code: table[value].match(chr(code)) is not None
    return lambda code: negated[value].match(chr(code)) is None


def _is_word(run, at):
    return 0 <= at < run.end and _WORD.match(chr(run.codes[at])) is not None


def _sequence(nodes, flags):
    matchers = [_node(op, arg, flags) for op, arg in nodes]
    if len(matchers) == 1:
        return matchers[0]

    def from_(index):
        if index == len(matchers) - 1:
            return matchers[index]
        head, rest = matchers[index], from_(index + 1)
        return lambda run, at, then: head(run, at, lambda p: rest(run, p, then))

    return from_(0) if matchers else (lambda run, at, then: then(at))


def _node(op, arg, flags):
    predicate = _predicate(op, arg, flags)
    if predicate is not None:
        table = [predicate(i) for i in range(256)]

        def one(run, at, then):
            run.steps.count += 1
            if at < run.end:
                code = run.codes[at]
                if table[code] if code < 256 else predicate(code):
                    return then(at + 1)
            return None

        return one
    if op is c.SUBPATTERN:
        return _sequence(list(arg[3]), (flags | arg[1]) & ~arg[2])
    if op is c.BRANCH:
        branches = [_sequence(list(each), flags) for each in arg[1]]
        firsts = [_first_of(list(each), flags) for each in arg[1]]

        def branch(run, at, then):
            for each, first in zip(branches, firsts, strict=True):
                run.steps.count += 1
                if first is not None and (
                    at >= run.end or (run.codes[at] < 256 and not first[run.codes[at]])
                ):
                    continue
                found = each(run, at, then)
                if found is not None:
                    return found
            return None

        return branch
    if op is c.AT:
        return _position(arg, flags)
    if op in (c.ASSERT, c.ASSERT_NOT):
        direction, tree = arg
        inner, width, wanted = _sequence(list(tree), flags), tree.getwidth()[0], op is c.ASSERT

        def look(run, at, then):
            run.steps.count += 1
            start = at if direction > 0 else at - width
            found = inner(run, start, _id) if start >= 0 else None
            return then(at) if (found is not None) == wanted else None

        return look
    if _ATOMIC is not None and op is _ATOMIC:
        whole = _sequence(list(arg), flags)

        def atomic(run, at, then):
            found = whole(run, at, _id)
            return None if found is None else then(found)

        return atomic
    if op in _REPEATS or op is _POSSESSIVE:
        return _repeat(op, *arg, flags)
    raise NotImplementedError(f"{op} in a pattern: teach regex_steps about it")


def _repeat(op, least, most, tree, flags):
    nodes = list(tree)
    single = _predicate(*nodes[0], flags) if len(nodes) == 1 else None
    if single is not None:
        table = [single(i) for i in range(256)]

        def run_of(run, at, then):
            last = run.end if most is c.MAXREPEAT else min(run.end, at + most)
            codes, p = run.codes, at
            if op is c.MIN_REPEAT:
                while True:
                    run.steps.count += 1
                    if p - at >= least:
                        found = then(p)
                        if found is not None:
                            return found
                    if p >= last or not (table[codes[p]] if codes[p] < 256 else single(codes[p])):
                        return None
                    p += 1
            while p < last and (table[codes[p]] if codes[p] < 256 else single(codes[p])):
                p += 1
            run.steps.count += p - at + 1
            if op is _POSSESSIVE:
                return then(p) if p - at >= least else None
            while p - at >= least:
                found = then(p)
                if found is not None:
                    return found
                run.steps.count += 1
                p -= 1
            return None

        return run_of
    body = _sequence(nodes, flags)
    lazy = op is c.MIN_REPEAT

    def again(run, at, then, count):
        run.steps.count += 1
        if lazy and count >= least:
            found = then(at)
            if found is not None:
                return found
        if most is c.MAXREPEAT or count < most:
            found = body(
                run, at, lambda p: again(run, p, then, count + 1) if p != at or count < least else None
            )
            if found is not None:
                return found
        return then(at) if not lazy and count >= least else None

    if op is _POSSESSIVE:

        def possessive(run, at, then):
            found = again(run, at, _id, 0)
            return None if found is None else then(found)

        return possessive
    return lambda run, at, then: again(run, at, then, 0)


def _position(anchor, flags):
    multiline = bool(flags & re.MULTILINE)

    def check(run, at):
        run.steps.count += 1
        if anchor in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
            return at == 0 or (multiline and anchor is c.AT_BEGINNING and run.codes[at - 1] == 10)
        if anchor is c.AT_END_STRING:
            return at == run.end
        if anchor is c.AT_END:
            return at == run.end or (run.codes[at] == 10 and (multiline or at == run.end - 1))
        edge = _is_word(run, at - 1) != _is_word(run, at)
        return edge if anchor is c.AT_BOUNDARY else not edge

    return lambda run, at, then: then(at) if check(run, at) else None
