"""A state file for workers whose settings name none.

One process keeps its totals and budgets in memory then. Several share a file
in a directory of the daemon's own, which goes when the daemon ends: the same
to who asks any of them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..cost.build import state_path
from ..settings import Settings, client_keys


class Scratch:
    """The directory; made by `open`, after twistd has shed its privileges."""

    def __init__(self) -> None:
        self._directory: Path | None = None

    def open(self) -> None:
        """Make the directory, for this user alone; OSError where that can not be."""
        self._directory = Path(tempfile.mkdtemp(prefix="openai-proxy-"))

    def shared(self, settings: Settings) -> Settings:
        """Return the settings with a state file, where they have none."""
        has_budgets = any(key.budget_usd is not None for key in client_keys(settings))
        if self._directory is None or state_path(settings, has_budgets) is not None:
            return settings
        cost = settings.cost.model_copy(update={"state_file": str(self._directory / "state.sqlite3")})
        return settings.model_copy(update={"cost": cost})

    def close(self) -> None:
        """Remove it with what is in it. May be called twice."""
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
