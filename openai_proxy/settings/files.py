"""Resolve the files that settings name: make paths absolute, and read header lines from files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from .errors import SettingsError
from .fields import Section
from .header_lines import check_line, file_of
from .model import Settings
from .sections import Upstream
from .sources import read_secret_file
from .tables import UpstreamEntry

AnySection = TypeVar("AnySection", bound=Section)


def resolve_paths(settings: Settings, directory: Path) -> Settings:
    """Return the settings with their paths made absolute, because a daemon changes its directory."""
    storage = settings.storage
    upstream = _with_absolute(settings.upstream, directory, "ca_file", "client_cert", "client_key")
    upstreams = tuple(
        _with_absolute(entry, directory, "client_cert", "client_key") for entry in settings.upstreams
    )
    if storage.local_log_dir:
        storage = storage.model_copy(update={"local_log_dir": str(directory / storage.local_log_dir)})
    return settings.model_copy(update={"upstream": upstream, "upstreams": upstreams, "storage": storage})


def _with_absolute(section: AnySection, directory: Path, *names: str) -> AnySection:
    paths = {name: str(directory / value) for name in names if (value := getattr(section, name))}
    return section.model_copy(update=paths) if paths else section


def read_secret_lines(settings: Settings, directory: Path) -> Settings:
    """Return the settings with the values of `NAME_FILE` headers and parameters read. Raises SettingsError."""
    upstream = _with_secret_lines(settings.upstream, "upstream", directory)
    entries = tuple(
        _with_secret_lines(entry, f"upstreams[{number}]", directory)
        for number, entry in enumerate(settings.upstreams)
    )
    return settings.model_copy(update={"upstream": upstream, "upstreams": entries})


_Table = TypeVar("_Table", Upstream, UpstreamEntry)


def _with_secret_lines(table: _Table, path: str, directory: Path) -> _Table:
    return table.model_copy(
        update={
            member: tuple(_read(pair, f"{path}.{member}", directory) for pair in getattr(table, member))
            for member in ("headers", "query")
        }
    )


def _read(pair: tuple[str, SecretStr], path: str, directory: Path) -> tuple[str, SecretStr]:
    name = file_of(pair[0])
    if name is None:
        return pair
    text = read_secret_file(path, pair[0], directory / pair[1].get_secret_value())
    try:
        check_line(name, text)
    except ValueError as error:
        raise SettingsError(f"{path} (from {pair[0]}): {error}") from None
    return name, SecretStr(text)
