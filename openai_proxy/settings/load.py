"""Load one validated `Settings` from options, environment, `.env` and TOML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .checks import check
from .derived import base_urls
from .dotenv_file import expanded_in_vain, has_dotenv, read_dotenv
from .errors import SettingsError
from .explain import explain
from .exposed_files import exposed_files
from .files import read_secret_lines, resolve_paths
from .model import Settings
from .outgoing_proxy import unused_proxies
from .schema import leaves
from .sources import Layer, from_options, from_toml, from_variables
from .unknown_names import CONFIG_VARIABLE, unknown_names


def load_settings(options: Mapping[str, Any], environ: Mapping[str, str], directory: Path) -> Settings:
    """Load and validate everything; may be called again for a reload.

    `options` are the command line's values by TOML path, besides `config` and
    `env_file`. `directory` is the absolute working directory at the start;
    relative paths refer to it. The first of options, `environ`, `.env`, TOML
    that has a setting takes precedence. Raises SettingsError with one line.
    """
    for name, option in (("config", "--config"), ("env_file", "--env-file")):
        if options.get(name) == "":  # an unset variable of the shell, and not the intended file
            raise SettingsError(f"{option}: the name of the file is empty")
    env_file = options.get("env_file")
    dotenv: dict[str, str | None] = {}
    if env_file or has_dotenv(directory):
        dotenv = read_dotenv(directory / (env_file or ".env"))
    in_dotenv = f" in {Path(env_file or '.env').name}"
    layers: list[Layer] = [from_options(options)]
    unknown: list[str] = []
    for variables, where in ((environ, ""), (dotenv, in_dotenv)):
        given = {path for layer in layers for path in layer.origins}
        layers.append(from_variables(variables, where, directory, given))
        unknown += unknown_names(variables, where)
    config = options.get("config") or environ.get(CONFIG_VARIABLE) or dotenv.get(CONFIG_VARIABLE)
    if config:
        layers.append(from_toml(directory / config))
    origins: dict[str, str] = {}
    for layer in reversed(layers):
        origins.update(layer.origins)
    try:
        settings = Settings(layers=layers)  # type: ignore[call-arg]  # removed by settings_customise_sources
    except ValidationError as error:
        raise explain(error, origins) from None
    settings._origins.update(origins)
    settings._directory = directory
    settings._blank_file = next((layer.blank_file for layer in layers if layer.blank_file), None)
    settings._unknown = (
        *unknown,
        *expanded_in_vain(dotenv, environ, in_dotenv),
        *unused_proxies(base_urls(settings), environ),
    )
    files = _files_with_secrets(settings, options, environ, dotenv, directory)
    settings._exposed = exposed_files(files)
    settings = read_secret_lines(resolve_paths(settings, directory), directory)
    check(settings)
    return settings


def _files_with_secrets(
    settings: Settings,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    dotenv: Mapping[str, str | None],
    directory: Path,
) -> list[tuple[Path, str]]:
    """Return each file that secrets were read from, with a description of its contents."""
    files: list[tuple[Path, str]] = []
    secrets = {name: leaf.path for leaf in leaves() if leaf.doc.secret for name in leaf.environment}
    if any(dotenv.get(name) for name in secrets):
        files.append((directory / (options.get("env_file") or ".env"), "keys"))
    for name, path in secrets.items():
        for variables in (environ, dotenv):
            file = variables.get(f"{name}_FILE")
            if file:
                files.append((directory / file, path))
    config = options.get("config") or environ.get(CONFIG_VARIABLE) or dotenv.get(CONFIG_VARIABLE)
    if config and _holds_secrets(settings, Path(config).name):
        files.append((directory / config, "keys"))
    return files


def _holds_secrets(settings: Settings, file: str) -> bool:
    """Return whether the TOML file of that name contains a usable key."""
    if any(leaf.doc.secret and settings.origin(leaf.path) == file for leaf in leaves()):
        return True
    return any(key.key or key.upstream_key for key in settings.keys) or any(
        upstream.api_key for upstream in settings.upstreams
    )
