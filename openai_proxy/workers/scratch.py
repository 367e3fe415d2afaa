"""A temporary state file for workers whose settings name none.

A single process keeps its totals and budgets in memory then. Several workers
share a file in a temporary directory, which is removed when the daemon ends, so
that each of them gives the same answer.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from ..settings import Settings, client_keys
from ..settings.derived import state_path


class Scratch:
    """The directory, accessible to this user only; created when it is first needed.

    Locked, so that systemd-tmpfiles does not remove that of an idle daemon.
    """

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._lock_fd = -1

    def shared(self, settings: Settings) -> Settings:
        """Return the settings with a state file, if they have none.

        Raises SettingsError if no directory can be created. Not to be called
        before twistd has shed its privileges.
        """
        has_budgets = any(key.has_budget for key in client_keys(settings))
        if state_path(settings, has_budgets) is not None:
            return settings
        try:
            file = self._open() / "state.sqlite3"
        except OSError as error:
            reason = f"no directory for what workers share: {error.strerror}; name a file"
            raise settings.error("cost.state_file", reason) from error
        cost = settings.cost.model_copy(update={"state_file": str(file)})
        return settings.model_copy(update={"cost": cost})

    def _open(self) -> Path:
        if self._directory is None:
            directory = Path(tempfile.mkdtemp(prefix="openai-proxy-"))
            self._lock_fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock_fd, fcntl.LOCK_SH)
            self._directory = directory
        return self._directory

    def close(self) -> None:
        """Remove it and its contents. May be called twice."""
        directory, self._directory = self._directory, None
        if directory is not None:
            os.close(self._lock_fd)
            shutil.rmtree(directory, ignore_errors=True)
