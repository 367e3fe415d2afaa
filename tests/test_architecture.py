"""The drawing and the house agree: imports point one way."""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest

import openai_proxy

ROOT = Path(openai_proxy.__file__).parent

LAYERS = (
    "logs",
    "exchange",
    "wire",
    "net",
    "upstream",
    "downstream",
    "settings",
    "observe",
    "policies",
    "cost",
    "pages",
    "daemon",
    "workers",
    "tap",
    "command",
    "__main__",
)
"""The rooms, lowest first: folders, and what stands at the root. A module may import from its own and from lower ones."""

PURE_LIBRARIES = {"attrs", "attr", "orjson", "wsproto"}
PURE_ROOMS = {"exchange", "wire", "policies", "cost"}
"""The rooms in which `Pure` in a docstring is enforced."""
IMPURE = {"socket", "asyncio", "threading", "subprocess", "logging", "selectors", "ssl", "http"}

LEVEL = {room: level for level, room in enumerate(LAYERS)}

BUILDERS = {"build.py", "upstream_keys.py"}


@functools.cache
def tree_of(path):
    """Return the parsed module: every test here looks at every one."""
    return ast.parse(path.read_text("utf-8"))


def modules():
    """Yield (path, dotted parts below the package, imports) of every module."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, parts, list(imports(tree_of(path), parts))


def imports(tree, parts):
    """Yield (absolute module name, names) of every import, also those inside functions."""
    package = ("openai_proxy", *(parts[:-1]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            if not node.level:
                yield node.module, names
                continue
            base = package[: len(package) - node.level + 1]
            if node.module:
                yield ".".join((*base, node.module)), names
            else:
                for name in names:
                    yield ".".join((*base, name)), ()


def room(module):
    """Return the room of a module of the package; None outside it, "" for the package itself."""
    parts = module.split(".")
    if parts[0] != "openai_proxy":
        return None
    return parts[1] if len(parts) > 1 else ""


def name_of(parts):
    """Return the dotted name of a module by the parts of its path below the package."""
    return ".".join(("openai_proxy", *(part for part in parts if part != "__init__")))


def inner_imports():
    """Yield (path, its room, imported module, that one's room) for imports inside the package."""
    for path, parts, found in modules():
        for module, _ in found:
            target = room(module)
            if target and target != "__version__":
                yield path.relative_to(ROOT), room(name_of(parts)), module, target


def test_every_room_stands_in_the_list():
    """A new room must be given its place here before it is imported."""
    rooms = {room(name_of(parts)) for _, parts, _ in modules()} - {""}
    assert rooms <= set(LEVEL), f"no layer for {sorted(rooms - set(LEVEL))}"


def test_imports_point_downward():
    """Along the list, so that no room knows one above it."""
    upward = [
        f"{path} imports {module}"
        for path, source, module, target in inner_imports()
        if source and source != target and LEVEL[source] <= LEVEL[target]
    ]
    assert upward == []


def is_pure(path):
    """Whether a module says of itself that it is pure: no clock's owner, socket, file or reactor."""
    return bool(re.search(r"\b[Pp]ure\b", ast.get_docstring(tree_of(path)) or ""))


def test_pure_modules_are_pure():
    """They take from the standard library, attrs, orjson, wsproto and each other."""
    pure = {name_of(parts) for path, parts, _ in modules() if is_pure(path)}
    allowed = sys.stdlib_module_names | PURE_LIBRARIES
    foreign = [
        f"{name_of(parts)} imports {module}"
        for path, parts, found in modules()
        if name_of(parts) in pure and room(name_of(parts)) in PURE_ROOMS
        for module, _ in found
        if (
            module not in pure
            if module.startswith("openai_proxy")
            else module.split(".")[0] not in allowed or module.split(".")[0] in IMPURE
        )
    ]
    assert foreign == []


def test_bytes_are_read_by_pure_modules():
    """`wire/` is pure throughout."""
    assert [str(path) for path, parts, _ in modules() if parts[0] == "wire" and not is_pure(path)] == []


def test_only_a_policys_build_sees_the_settings():
    """A stage takes what it needs as arguments; it knows no edge and no observer."""
    wrong = [
        f"{path} imports {module}"
        for path, source, module, target in inner_imports()
        if source == "policies" and path.name not in BUILDERS
        if target in ("settings", "downstream", "upstream", "observe")
    ]
    assert wrong == []


def test_reactor_is_imported_only_in_make_service():
    """Whoever needs the reactor is given it."""
    imports = []
    for path, parts, _ in modules():
        tree = tree_of(path)
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)] + [tree]:
            body = ast.walk(function) if isinstance(function, ast.FunctionDef) else ast.iter_child_nodes(tree)
            imports += [(parts, getattr(function, "name", None)) for node in body if is_reactor_import(node)]
    assert imports == [(("tap",), "makeService")]


def is_reactor_import(node):
    if isinstance(node, ast.ImportFrom):
        return node.module == "twisted.internet" and any(alias.name == "reactor" for alias in node.names)
    return isinstance(node, ast.Import) and any(
        alias.name == "twisted.internet.reactor" for alias in node.names
    )


def test_loggers_obey_the_level():
    """`log_level` holds for all that is said, but for the lines of exchanges that an observer was asked for."""
    makers = {"logs.py", "console.py", "text_log.py"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, _, _ in modules()
        if path.name not in makers
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Logger"
    ]
    assert wrong == []


MUTATING = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "extendleft",
        "insert",
        "move_to_end",
        "pop",
        "popitem",
        "popleft",
        "remember",
        "remove",
        "setdefault",
        "update",
    ]
)


def mutated_names(tree):
    """Yield the names of module-level objects that the module changes after it was imported."""
    ours = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        nodes = list(ast.walk(function))
        arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        for node in nodes:
            changed = None
            if isinstance(node, ast.Global):
                yield from node.names
            elif (isinstance(node, ast.Attribute) and node.attr in MUTATING) or (
                isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load)
            ):
                changed = node.value
            if isinstance(changed, ast.Name) and changed.id in ours - arguments - stored:
                yield changed.id


def test_no_module_has_state_of_its_own():
    """What changes belongs to an object; what a pure function remembers belongs to its `short_memo`."""
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, _, _ in modules()
        for name in mutated_names(tree_of(path))
    ]
    assert found == ["logs.py: _predicate"]  # the level of the log: a process has one log


MEMOS = {"BoundedMemo", "Learned", "defaultdict", "OrderedDict", "deque"}


def test_no_module_holds_a_memo():
    """Not even one that it does not change itself: a dict that learns changes when it is read."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, _, _ in modules()
        for node in tree_of(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for call in ast.walk(node.value)
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) in MEMOS
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "a = {}\ndef f():\n    a['b'] = 1",
        "a: dict = {}\ndef f():\n    a['b'] += 1",
        "a = []\ndef f():\n    a.append(1)",
        "a = set()\ndef f():\n    return map(a.add, ())",
        "a = 1\ndef f():\n    global a\n    a = 2",
        "class B: pass\na = B()\ndef f():\n    a.b = 1",
        "a = {}\nf = lambda: a.pop(1)",
        "a = {}\ndef f():\n    del a[1]",
    ],
)
def test_state_of_a_module_is_found(text):
    """The check above finds each way to change an object of a module."""
    assert set(mutated_names(ast.parse(text))) == {"a"}


def test_state_of_an_object_is_none_of_its_module():
    """A local name is another one."""
    text = "a = {}\ndef f(a):\n    a.clear()\ndef g():\n    a = {}\n    a[1] = 2\n    return a"
    assert set(mutated_names(ast.parse(text))) == set()


def files_imported():
    """Return the set of files that each file imports, by dotted names, also under TYPE_CHECKING and in functions."""
    every = list(modules())
    names = {name_of(parts) for _, parts, _ in every}
    graph = {}
    for _, parts, found in every:
        own = name_of(parts)
        imported = {f"{module}.{name}" for module, names_of in found for name in names_of} & names
        imported |= {
            module
            for module, names_of in found
            if not names_of or any(f"{module}.{name}" not in names for name in names_of)
        } & names
        graph[own] = imported - {own}
    return graph


def circles(graph):
    """Return the groups of files that reach each other, sorted."""

    def reached(start):
        seen, left = set(), [start]
        while left:
            for name in graph[left.pop()] - seen:
                seen.add(name)
                left.append(name)
        return seen

    reach = {name: reached(name) for name in graph}
    found = {
        tuple(sorted(other for other in graph if other in reach[name] and name in reach[other]))
        for name in graph
        if name in reach[name]
    }
    return sorted(map(list, found))


def test_no_files_import_each_other_in_a_circle():
    """Not under TYPE_CHECKING either: who must know each other meet in a third file, such as a `contract.py`."""
    assert circles(files_imported()) == []


def test_a_circle_is_found():
    """However long, and whatever hangs on it."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}, "f": {"g"}, "g": {"f"}}
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]
