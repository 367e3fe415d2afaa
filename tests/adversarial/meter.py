"""The package once more, with every operation counted that takes time in proportion to its input.

Seconds lie on a busy machine and line counts do not see what happens in C.
So the source of each module is loaded a second time, under another name,
and rewritten on the way: calls, slices, concatenations, comparisons and
loops go through a meter, which knows what each costs by its arguments and
its result: a search costs what it looked at, a slice or a join what it
copied, a pattern the steps that `regex_steps` counts, a decoder in C what it
read and what it made. The counts are exact and the same on every machine.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.util
import operator
import re
import sys
import types
from pathlib import Path

from adversarial.regex_steps import Steps

import openai_proxy

PREFIX = "metered_openai_proxy"
_ROOT = Path(openai_proxy.__file__).parent
_CONSTANT = frozenset(
    (
        "isinstance",
        "issubclass",
        "len",
        "type",
        "getattr",
        "hasattr",
        "callable",
        "super",
        "cast",
        "id",
        "iter",
        "next",
        "vars",
    )
)
_SIZED = (bytes, str, bytearray, list, tuple, dict, set, frozenset)
_TEXT = (bytes, str, bytearray)


class Meter:
    """Counts steps; what the rewritten modules call."""

    def __init__(self):
        self.steps = 0
        self.regex = Steps()

    def total(self):
        return self.steps + self.regex.count

    def tick(self):
        self.steps += 1

    def each(self, iterable):
        for item in iterable:
            self.steps += 1
            yield item

    def made(self, result):
        """Count what was copied to make `result`."""
        self.steps += 1 + (len(result) if isinstance(result, _SIZED) else 0)
        return result

    def add(self, one, other):
        return self.made(one + other)

    def multiply(self, one, other):
        return self.made(one * other)

    def modulo(self, one, other):
        return self.made(one % other)

    def add_in_place(self, one, other):
        if isinstance(one, list | bytearray):
            before = len(one)
            one += other
            self.steps += 1 + len(one) - before
            return one
        return self.made(operator.iadd(one, other))

    def contains(self, item, container):
        if isinstance(container, _TEXT):
            at = container.find(item)
            self.steps += 1 + (len(container) if at < 0 else at)
            return at >= 0
        if isinstance(container, list | tuple):
            self.steps += 1 + len(container)
        elif isinstance(item, bytes | str):
            self.steps += 1 + len(item)  # its hash
        return item in container

    def equal(self, one, other):
        if isinstance(one, _SIZED) and isinstance(other, _SIZED) and len(one) == len(other):
            self.steps += len(one)
        self.steps += 1
        return one == other

    def shift(self, container):
        """Count what moves when an item is deleted."""
        self.steps += 1 + (len(container) if isinstance(container, list | bytearray) else 0)

    def call(self, function, /, *args, **named):
        self.steps += 1
        kind = type(function)
        if isinstance(function, types.BuiltinFunctionType):
            owner = function.__self__
            how = _OWNERS.get(type(owner)) or _owner(type(owner))
            if how == "text":
                result = function(*args, **named)
                self.steps += _text_cost(owner, function.__name__, args, result)
                return result
            if how == "pattern":
                return self._regex(owner, function.__name__, function, args, named)
            if how == "list" and function.__name__ in ("pop", "insert", "remove", "index", "count"):
                if args and args[0] != -1:
                    self.steps += len(owner)
                return function(*args, **named)
            if how in ("list", "table"):
                if args:
                    self.steps += sum(map(_size, args))
                if function.__name__ in ("copy", "sort", "reverse", "clear"):
                    self.steps += len(owner)
                return function(*args, **named)
        elif kind is types.FunctionType or kind is types.MethodType:
            if (function.__module__ or "").startswith(PREFIX):
                return function(*args, **named)
        elif kind is type and (function.__module__ or "").startswith(PREFIX):
            return function(*args, **named)
        elif kind is functools.partial:
            return self.call(function.func, *function.args, *args, **{**function.keywords, **named})
        result = function(*args, **named)
        if args:
            self.steps += sum(map(_size, args))
        if named:
            self.steps += sum(map(_size, named.values()))
        if kind is not type or function in (bytes, str, list, tuple, dict, set, frozenset):
            self.steps += _size(result)
        return result

    def _regex(self, pattern, name, function, args, named):
        if name in ("sub", "subn"):
            self._all(pattern, args[1], 0, len(args[1]))
        elif name in ("split", "findall", "finditer"):
            self._all(pattern, *_span(args))
            if name == "finditer":
                return iter(list(function(*args, **named)))
        elif name in ("match", "fullmatch", "search"):
            text, at, end = _span(args)
            found = function(*args, **named)
            if name == "search":
                counted = self.regex.of_search(pattern, text, at, end)
                assert counted == (None if found is None else found.span()), (pattern, counted, found)
            else:
                counted = self.regex.of_match(pattern, text, at, end, name == "fullmatch")
                assert counted == (None if found is None else found.end()), (pattern, counted, found)
            return found
        return self.made(function(*args, **named))

    def _all(self, pattern, text, at, end):
        last = at
        for found in pattern.finditer(text, at, end):
            self.steps += 1
            self.regex.of_search(pattern, text, last, end)
            last = found.end() + (found.end() == found.start())
        if last <= end:
            self.regex.of_search(pattern, text, last, end)


_OWNERS: dict[type, str] = {}
"""What the owner of a method in C is, by its type."""


def _owner(kind):
    kinds = (
        ("text", _TEXT),
        ("pattern", re.Pattern),
        ("list", list),
        ("table", dict | set),
        ("other", object),
    )
    _OWNERS[kind] = next(name for name, wanted in kinds if issubclass(kind, wanted))
    return _OWNERS[kind]


def _span(args):
    text = args[0]
    at = min(max(args[1], 0), len(text)) if len(args) > 1 else 0
    return text, at, min(args[2], len(text)) if len(args) > 2 else len(text)


def _size(value):
    return len(value) if isinstance(value, _SIZED) else 0


_COPIES = frozenset(("strip", "lstrip", "rstrip", "removeprefix", "removesuffix"))


def _text_cost(text, name, args, result):
    size = len(text)
    if name in ("find", "index", "rfind", "rindex", "count"):
        start, end, _ = slice(args[1] if len(args) > 1 else None, args[2] if len(args) > 2 else None).indices(
            size
        )
        if name == "count" or result < 0:
            return max(end - start, 0)
        return result - start + 1 if name in ("find", "index") else end - result
    if name in ("startswith", "endswith"):
        wanted = args[0] if isinstance(args[0], tuple) else (args[0],)
        return sum(map(len, wanted))
    if name == "join":
        return len(result) + len(args[0]) if isinstance(args[0], list | tuple) else len(result)
    if name in _COPIES:
        return 0 if result is text else size
    return size + _size(result)


METER = Meter()


class _Rewrite(ast.NodeTransformer):
    def _to(self, name, *args):
        function = ast.Attribute(ast.Name("__meter__", ast.Load()), name, ast.Load())
        return ast.Call(function, list(args), [])

    def _tick(self):
        return ast.Expr(self._to("tick"))

    def visit_Call(self, node):
        if isinstance(node.func, ast.Name) and node.func.id in _CONSTANT:
            self.generic_visit(node)
            return node
        self.generic_visit(node)
        call = self._to("call", node.func, *node.args)
        call.keywords = node.keywords
        return call

    def visit_BinOp(self, node):
        self.generic_visit(node)
        name = {ast.Add: "add", ast.Mult: "multiply", ast.Mod: "modulo"}.get(type(node.op))
        return self._to(name, node.left, node.right) if name else node

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        if not isinstance(node.op, ast.Add) or isinstance(node.target, ast.Subscript):
            return node
        target = node.target
        if isinstance(target, ast.Name):
            read = ast.Name(target.id, ast.Load())
        else:
            read = ast.Attribute(target.value, target.attr, ast.Load())
        return ast.Assign([target], self._to("add_in_place", read, node.value))

    def visit_Subscript(self, node):
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Slice):
            return self._to("made", node)
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        op, left, right = type(node.ops[0]), node.left, node.comparators[0]
        if op is ast.In:
            return self._to("contains", left, right)
        if op is ast.NotIn:
            return ast.UnaryOp(ast.Not(), self._to("contains", left, right))
        if op is ast.Eq:
            return self._to("equal", left, right)
        if op is ast.NotEq:
            return ast.UnaryOp(ast.Not(), self._to("equal", left, right))
        return node

    def visit_JoinedStr(self, node):
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                value.value = self.visit(value.value)
        return self._to("made", node)

    def _display(self, node):
        self.generic_visit(node)
        starred = any(isinstance(each, ast.Starred) for each in node.elts)
        return (
            self._to("made", node)
            if starred and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
            else node
        )

    visit_List = visit_Tuple = visit_Set = _display

    def visit_Dict(self, node):
        self.generic_visit(node)
        return self._to("made", node) if None in node.keys else node

    def visit_comprehension(self, node):
        self.generic_visit(node)
        if not node.is_async:
            node.iter = self._to("each", node.iter)
        return node

    def _loop(self, node):
        self.generic_visit(node)
        node.body.insert(0, self._tick())
        return node

    visit_For = visit_While = _loop

    def _function(self, node):
        decorators, node.decorator_list = node.decorator_list, []
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.decorator_list, node.returns = decorators, returns
        node.body.insert(1 if ast.get_docstring(node, clean=False) is not None else 0, self._tick())
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_AnnAssign(self, node):
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node):
        return node

    def visit_ClassDef(self, node):
        node.body = [self.visit(each) for each in node.body]
        return node

    def visit_Delete(self, node):
        shifted = [
            ast.Expr(self._to("shift", each.value))
            for each in node.targets
            if isinstance(each, ast.Subscript) and isinstance(each.value, ast.Name | ast.Attribute)
        ]
        return [*shifted, node]

    def visit_Match(self, node):
        node.subject = self.visit(node.subject)
        for case in node.cases:
            case.body = [self.visit(each) for each in case.body]
        return node


class _Loader(importlib.abc.Loader):
    def __init__(self, path):
        self.path = path

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        tree = _Rewrite().visit(ast.parse(self.path.read_text(encoding="utf-8")))
        module.__dict__["__meter__"] = METER
        exec(compile(ast.fix_missing_locations(tree), str(self.path), "exec"), module.__dict__)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname != PREFIX and not fullname.startswith(PREFIX + "."):
            return None
        path = _ROOT.joinpath(*fullname.split(".")[1:])
        package = (path / "__init__.py").is_file()
        file = path / "__init__.py" if package else path.with_suffix(".py")
        if not file.is_file():
            return None
        spec = importlib.util.spec_from_loader(fullname, _Loader(file), origin=str(file), is_package=package)
        if package:
            spec.submodule_search_locations = [str(path)]
        return spec


_FINDER = _Finder()
sys.meta_path.insert(0, _FINDER)


def metered(module):
    """Return the counted twin of a module of the package, named without `openai_proxy.`."""
    return importlib.import_module(f"{PREFIX}.{module}")


_MEMOS: dict[str, list] = {}
"""The memos of each counted module: it has all of them once it is imported."""


def steps_of(run):
    """Return the steps that `run()` takes, with no memo of the modules filled before it."""
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        if name not in _MEMOS:
            found = vars(sys.modules[name]).values()
            _MEMOS[name] = [value for value in found if hasattr(value, "cache_clear")]
        for memo in _MEMOS[name]:
            memo.cache_clear()
    METER.steps = METER.regex.count = 0
    run()
    return METER.total()
