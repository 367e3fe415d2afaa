"""The file with the outcome of the last reload, which the daemon writes for `openai-proxy reload`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

FILE = "reload"
RELOADED = "reloaded"
REFUSED = "refused: "


def runtime_directory(environment: Mapping[str, str]) -> str | None:
    """Return the first directory of systemd's RuntimeDirectory=, None outside it."""
    return environment.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
