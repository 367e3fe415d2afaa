"""The drawing and the house agree: imports point one way."""

import ast
import sys
from pathlib import Path

import openai_proxy

ROOT = Path(openai_proxy.__file__).parent

LAYERS = (
    ("core", "descriptors", "eager_transports", "host_names", "logs", "once_in_a_while", "steady_clock"),
    (
        "client_tls",
        "direct_deferred",
        "messages",
        "proxy_protocol",
        "sockets",
        "turns",
        "wire_headers",
    ),
    (
        "changed_json",
        "endpoints",
        "prompt_estimate",
        "relay",
        "decoded_body",
        "peeked_body",
        "redis_login",
        "socket_group",
    ),
    ("redis_client",),
    ("cache", "limits", "routing"),
    ("stages", "web", "upstream", "observe", "settings"),
    ("cost",),
    ("stores",),
    ("composition",),
    ("certificate_dates", "draining", "listening", "reloads", "signals", "status"),
    ("serving",),
    ("service",),
    ("workers",),
    ("reload_command",),
    ("keys_command",),
    ("tap", "unsupported"),
)
"""Lowest first. A module may import from lower layers and from its own room alone."""

LIBRARIES_OF_CORE = {"attrs", "attr", "orjson"}

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules():
    """Yield (path, dotted parts below the package, imports) of every module."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, parts, list(imports(ast.parse(path.read_text("utf-8")), parts))


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
    """Return the first name below the package, or None outside it."""
    parts = module.split(".")
    if parts[0] != "openai_proxy":
        return None
    return parts[1] if len(parts) > 1 else ""


def inner_imports():
    """Yield (importing module, its room, imported module, its room) inside the package."""
    for path, parts, found in modules():
        for module, _ in found:
            target = room(module)
            if target and target != "__version__":
                yield path.relative_to(ROOT), parts[0], module, target


def test_every_room_stands_in_the_drawing():
    """A new module must be given its place here before it is imported."""
    rooms = {parts[0] for _, parts, _ in modules()} - {"__init__", "__main__"}
    assert rooms <= set(LEVEL), f"no layer for {sorted(rooms - set(LEVEL))}"


def test_imports_point_downward():
    """tap, service, composition, then rooms that do not know each other, then messages and core."""
    upward = [
        f"{path} imports {module}"
        for path, source, module, target in inner_imports()
        if source != target and LEVEL[source] <= LEVEL[target]
    ]
    assert upward == []


def test_core_is_pure():
    """core/ takes from the standard library, attrs and orjson: no clock's owner, socket or reactor."""
    allowed = sys.stdlib_module_names | LIBRARIES_OF_CORE
    forbidden = {"socket", "asyncio", "threading", "subprocess", "logging", "selectors", "ssl", "http"}
    foreign = [
        f"{path.name} imports {module}"
        for path, parts, found in modules()
        if parts[0] == "core"
        for module, _ in found
        if room(module) != "core"
        and (module.split(".")[0] not in allowed or module.split(".")[0] in forbidden)
    ]
    assert foreign == []


def test_stages_know_neither_each_other_nor_an_edge_nor_the_settings():
    """A stage takes what it needs as arguments."""
    wrong = [
        f"{path} imports {module}"
        for path, source, module, target in inner_imports()
        if source == "stages"
        if target in ("stages", "web", "upstream", "observe", "settings", "stores", "composition", "service")
    ]
    assert wrong == []


def test_reactor_is_imported_in_make_service_alone():
    """Whoever needs the reactor is given it."""
    places = []
    for path, parts, _ in modules():
        tree = ast.parse(path.read_text("utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)] + [tree]:
            body = ast.walk(function) if isinstance(function, ast.FunctionDef) else ast.iter_child_nodes(tree)
            places += [(parts, getattr(function, "name", None)) for node in body if is_reactor_import(node)]
    assert places == [(("tap",), "makeService")]


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
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Logger"
    ]
    assert wrong == []
