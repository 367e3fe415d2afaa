"""From options, environment, `.env` and TOML to one validated `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .checks import check, resolve_paths
from .errors import SettingsError
from .explain import explain
from .model import Settings
from .sources import Layer, from_options, from_toml, from_variables, has_dotenv, read_dotenv
from .unknown_names import unknown_names

CONFIG_VARIABLE = "OPENAI_PROXY_CONFIG"


def load_settings(options: Mapping[str, Any], environ: Mapping[str, str], directory: Path) -> Settings:
    """Load and validate everything; may be called again for a reload.

    `options`: TOML path to value for what the command line gave, besides
    `config` and `env_file`. `directory` is the absolute working directory
    at the start: relative paths mean it. The first of options, `environ`,
    `.env`, TOML that has a setting wins. Raises SettingsError, one line.
    """
    for name, option in (("config", "--config"), ("env_file", "--env-file")):
        if options.get(name) == "":  # a variable of the shell that is not set: not the file that was meant
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
        settings = Settings(layers=layers)  # type: ignore[call-arg]  # taken out by settings_customise_sources
    except ValidationError as error:
        raise explain(error, origins) from None
    settings._origins.update(origins)
    settings._directory = directory
    settings._unknown = tuple(unknown)
    settings = resolve_paths(settings, directory)
    check(settings)
    return settings
