"""The daemon as its users start it: a real twistd, in a directory of its own."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from world.waiting import PATIENCE_S, eventually
from world.warm_start import TWISTD, launch

__all__ = ["DEFECTS", "TWISTD", "UNHURRIED", "Daemon", "alive", "configured", "whole_lines"]
DEFECTS = ("Traceback", "Unhandled", "defect")
UNHURRIED = {"DRAIN_TIMEOUT_S": "120", "LIMITS__HEADER_TIMEOUT_S": "120"}
"""If no test is about them, these do not end what a test on a busy machine holds open."""


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def whole_lines(file: Path) -> str:
    """Return the lines of a file that is being written: a reader may see half of the last."""
    text = file.read_text("utf-8", "replace")
    return text[: text.rfind("\n") + 1]


class Daemon:
    """One `twistd openai-proxy`, started at once, stopped by `stop`.

    `twistd` are twistd's own options; without `-n` among them it becomes a
    daemon, and `pid` is what its pidfile says. The log is read from the
    file that the process writes. `launch` starts the process; the tests'
    `conftest.py` has put one here that spares it the imports.
    """

    launch: Callable[..., Any] = staticmethod(launch)

    def __init__(
        self,
        directory: Path,
        upstream_url: str,
        *,
        ports: Sequence[str] = ("tcp:0:interface=127.0.0.1",),
        env: dict[str, str] | None = None,
        options: Sequence[str] = (),
        twistd: Sequence[str] = ("-n", "--pidfile="),
        log: str = "stdout",
        launch: Callable[..., Any] | None = None,
    ) -> None:
        self.directory = directory
        self._log = directory / log
        self.pid: int | None = None
        command = [str(TWISTD), *twistd, "openai-proxy"]
        for port in ports:
            command += ["--port", port]
        with (directory / "stdout").open("wb") as output:
            self.process = (launch or self.launch)(
                [*command, *options],
                cwd=directory,
                env=self._environment(upstream_url, env or {}),
                output=output,
            )
        try:
            if "-n" in twistd:
                self.pid = self.process.pid
            elif self.process.wait(PATIENCE_S) == 0:
                assert eventually((directory / "proxy.pid").exists)
                self.pid = int((directory / "proxy.pid").read_text())
            self.wait_until_listening(len(ports))
        except BaseException:
            self.stop()  # or another test would be blamed for a process that nobody waited for
            raise

    @staticmethod
    def _environment(upstream_url: str, env: dict[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "OPENAI_API_BASE": upstream_url, "RETRY__MAX_RETRIES": "0", **UNHURRIED, **env}

    def wait_until_listening(self, count: int) -> None:
        assert eventually(lambda: len(self.listening) >= count or not self.running), self.log
        assert self.running, self.log

    @property
    def log(self) -> str:
        """Every whole line that the daemon said so far."""
        said = whole_lines(self.directory / "stdout")
        if self._log.name != "stdout" and self._log.exists():
            said += whole_lines(self._log)
        return said

    @property
    def listening(self) -> list[str]:
        return re.findall(r"listening on (\S+)", self.log)

    @property
    def port(self) -> int:
        return int(self.listening[0].rpartition(":")[2])

    @property
    def running(self) -> bool:
        if self.pid == self.process.pid:
            return self.process.poll() is None
        return self.pid is not None and alive(self.pid)

    @property
    def defects(self) -> list[str]:
        """What no client and no upstream may ever cause: the log from each such line on."""
        lines = self.log.splitlines()
        found = [at for at, line in enumerate(lines) if any(word in line for word in DEFECTS)]
        return ["\n".join(lines[at : at + 25]) for at in found]

    def resident_bytes(self) -> int:
        """RSS of the process, from Linux' /proc."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """How many descriptors the process holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def signal(self, number: signal.Signals) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)

    def wait_until_gone(self, timeout_s: float = PATIENCE_S) -> bool:
        return eventually(lambda: not self.running, timeout_s)

    def stop(self) -> None:
        """End it, gently and then not; the directory stays."""
        for number, patience_s in (
            (signal.SIGTERM, 0.5),
            (signal.SIGTERM, PATIENCE_S),
            (signal.SIGKILL, PATIENCE_S),
        ):
            if self.running:
                self.signal(number)
                self.wait_until_gone(patience_s)
        if self.pid is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)


def configured(directory: Path, toml: str) -> dict[str, Any]:
    """Return the options of a Daemon whose configuration file says `toml`."""
    file = directory / "proxy.toml"
    file.write_text(toml)
    return {"options": ("--config", str(file))}
