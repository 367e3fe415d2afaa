"""The `.env` file: variables as python-dotenv reads them, secrets without expansion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from dotenv.main import DotEnv
from dotenv.parser import parse_stream

from .errors import SettingsError
from .schema import leaves

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")


def has_dotenv(directory: Path) -> bool:
    """Return whether there is a `.env` file; raise SettingsError if that cannot be determined."""
    file = directory / ".env"
    try:
        return file.is_file()
    except OSError as error:
        # it must not be skipped: it may have the client keys
        raise SettingsError(f"cannot look for {file}: {error.strerror}") from None


def read_dotenv(file: Path) -> dict[str, str | None]:
    """Return the variables of a `.env` file. Raises SettingsError with the file, and the line that cannot be read.

    `${NAME}` in a value is replaced by another variable, except in a secret: a
    key with a `$` in it is used as it is in the file.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            wrong = next((item for item in parse_stream(stream) if item.error), None)
        if wrong is not None:
            raise SettingsError(f"{file}: line {wrong.original.line} is not NAME=value")
        values = dict(DotEnv(file, encoding="utf-8-sig").dict())
        secrets = {name: value for name, value in _as_written(file).items() if name in _secret_names()}
        return values | secrets
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8 text") from None


def _as_written(file: Path) -> dict[str, str | None]:
    return dict(DotEnv(file, encoding="utf-8-sig", interpolate=False).dict())


@lru_cache(maxsize=1)
def _secret_names() -> frozenset[str]:
    return frozenset(name for leaf in leaves() if leaf.doc.secret for name in leaf.environment)


def expanded_in_vain(
    dotenv: Mapping[str, str | None], environ: Mapping[str, str], where: str
) -> Iterator[str]:
    """Yield a line for each secret that names an existing variable, which is not inserted."""
    for name in sorted(_secret_names() & dotenv.keys()):
        for found in _REFERENCE.findall(dotenv[name] or ""):
            if found in environ or found in dotenv:
                yield f"{name}{where}: ${{{found}}} stands for itself, because a secret is taken as it is written"
