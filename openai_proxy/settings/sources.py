"""The sources of settings as layers: options, variables, a TOML file.

Each becomes a `Layer`, a source of pydantic-settings that also has the origin
of each of its values. Reads files, but never the process's environment.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from .errors import SettingsError, shown
from .model import Settings
from .schema import Leaf, leaves
from .values import QUOTES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_SECRET_BYTES = 1024 * 1024
_ASSIGNMENT = re.compile(r"(?:export\s+)?(?:[A-Z][A-Z0-9]*_[A-Z0-9_]*|KEY|TOKEN|SECRET|PASSWORD)\s*=[^=\n]")
"""The beginning of a line of a `.env` file; a secret that looks like this is a mistake."""
_TRUE = ("1", "true", "yes", "on", "t", "y")
_FALSE = ("0", "false", "no", "off", "f", "n")


class Layer(PydanticBaseSettingsSource):
    """One source's values as a tree, and the origin of each by its TOML path."""

    def __init__(self) -> None:
        super().__init__(Settings)
        self.tree: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.blank_file: Path | None = None
        """The file, if there is nothing in it but white space."""

    def put(self, path: str, value: Any, origin: str) -> None:
        """Set the value at a dotted path."""
        *tables, name = path.split(".")
        table = self.tree
        for step in tables:
            table = table.setdefault(step, {})
        table[name] = value
        self.origins[path] = origin

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return a top-level value, for the base class."""
        return self.tree.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the whole tree."""
        return self.tree


def from_options(options: Mapping[str, Any]) -> Layer:
    """Return the layer of the command line: TOML path to value, None for an option not given."""
    layer = Layer()
    for leaf in leaves():
        value = options.get(leaf.path)
        if value is not None and value != []:
            layer.put(leaf.path, value, f"--{leaf.doc.option}")
    return layer


def from_variables(
    variables: Mapping[str, str | None], where: str, directory: Path, given: Container[str] = ()
) -> Layer:
    """Return the layer of environment variables; empty ones count as not set.

    `where` follows the variable's name in errors (empty for the environment
    itself); relative paths of secret files start from `directory`. Settings
    that a layer before this one has `given` are skipped, because an unused
    value cannot be wrong, such as the file of a secret.
    """
    layer = Layer()
    for leaf in leaves():
        if leaf.path in given:
            continue
        for name in leaf.environment:
            found = _variable(leaf, name, variables, where, directory)
            if found is not None:
                layer.put(leaf.path, *found)
                break
    return layer


def _variable(
    leaf: Leaf, name: str, variables: Mapping[str, str | None], where: str, directory: Path
) -> tuple[Any, str] | None:
    text = variables.get(name)
    if text and leaf.doc.secret:
        text = text.rstrip("\r\n")  # of a Secret that was made with `echo`; see `read_secret_file`
    file = variables.get(f"{name}_FILE") if leaf.doc.secret else None
    if text and file:
        raise SettingsError(f"{leaf.path}: {name} and {name}_FILE are both set{where}; keep one of them")
    if file:
        return read_secret_file(leaf.path, f"{name}_FILE{where}", directory / file), f"{name}_FILE{where}"
    if not text:
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES:
        raise SettingsError(
            f"{leaf.path} (from {name}{where}): the value is in quotes, which docker --env-file and systemd's"
            " files may keep; leave them out"
        )
    if leaf.doc.secret and text.startswith(f"{name}="):
        raise SettingsError(f"{leaf.path} (from {name}{where}): the value begins with {name}= once more")
    translate = _SHORT_FORMS.get(name)
    if translate is None:
        return text, name + where
    try:
        value = translate(text.strip())
    except ValueError as error:
        raise SettingsError(
            f"{leaf.path} (from {name}{where}): {shown(text)} is not allowed; {error}"
        ) from None
    return None if value is None else (value, name + where)


def read_secret_file(path: str, origin: str, file: Path) -> str:
    """Return a mounted secret without its final newline. Raises SettingsError, also if it is empty."""
    label = f"{path} (from {origin})"
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MAX_SECRET_BYTES + 1)
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{label}: cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{label}: {file} is not UTF-8 text") from None
    if not text or len(raw) > _MAX_SECRET_BYTES:
        raise SettingsError(
            f"{label}: {file} is {'too large' if text else 'empty'}; it must contain only the secret"
        )
    if _ASSIGNMENT.match(text):
        raise SettingsError(f"{label}: {file} holds NAME=value; it must contain only the secret")
    if len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES:
        raise SettingsError(f"{label}: the secret in {file} is in quotes; leave them out")
    return text


def _truth(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("it must be true or false")


def _port(text: str) -> list[str]:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):
        raise ValueError("it must be a port number from 0 to 65535 (PORTS takes endpoint strings)")
    return [f"tcp:{int(text)}"]


_SHORT_FORMS: dict[str, Callable[[str], Any]] = {
    "PORT": _port,
    "STRIP_THINK_TAGS": lambda text: "strip" if _truth(text) else "keep",
    "DEBUG": lambda text: "debug" if _truth(text) else None,
}


def from_toml(file: Path) -> Layer:
    """Return the layer of a TOML file. Raises SettingsError naming the file, and line and column."""
    layer = Layer()
    try:
        text = file.read_bytes().decode("utf-8-sig")
        layer.tree = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the configuration {file} is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"the configuration {file} is not valid TOML: {error}") from None
    except ValueError:
        # raised by int() for several thousand digits
        raise SettingsError(f"the configuration {file} holds a number that is too long to be read") from None
    layer.origins[""] = file.name
    if not text.strip() and file.is_file():  # not /dev/null
        layer.blank_file = file
    for leaf in leaves():
        table: Any = layer.tree
        for step in leaf.path.split("."):
            table = table.get(step) if isinstance(table, dict) else None
        if table is not None:
            layer.origins[leaf.path] = file.name
    return layer
