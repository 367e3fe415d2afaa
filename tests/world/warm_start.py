"""Starts of twistd without the imports: a process that has imported the proxy forks itself for each.

Importing Twisted, pydantic and the proxy is most of what a start costs, and
the same each time. The parent of the daemons does it once for all tests of a
pytest process, and opens nothing: no reactor, no thread, no file. A child
takes the directory, the environment, the standard files and the command line
of what it stands for, and runs twistd as the script of that name does.

What such a start cannot show is what the imports themselves do. Whatever is
about that starts a process of its own: `Daemon(launch=launch)`, a
command that is no twistd, and one with variables that Python reads.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

TWISTD = Path(sys.executable).with_name("twistd")
_OF_PYTHON = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_")
"""How variables begin that are read before anything is imported."""
_MESSAGE = 1 << 20


class WarmProcess:
    """What a test needs of a `subprocess.Popen`, of a process that the parent has forked."""

    def __init__(self, parent: WarmParent, pid: int) -> None:
        self._parent = parent
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status as `Popen.poll` does; the process is gone then, and no zombie."""
        if self.returncode is None:
            self.returncode = self._parent.status(self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return status

    def kill(self) -> None:
        """Kill it, if it is still there."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class WarmParent:
    """The parent of daemons, started when the first is; `close` ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def launch(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Any
    ) -> WarmProcess | subprocess.Popen[bytes]:
        """Start `command` with `output` as its standard output and error; by itself if a fork is not the same."""
        kept = ("LANG", os.environ.get("LANG"))
        reads = [name for name, value in env.items() if name.startswith(_OF_PYTHON) and (name, value) != kept]
        if command[0] != str(TWISTD) or reads:
            return launch(command, cwd=cwd, env=env, output=output)
        asked = {"command": list(command), "directory": str(cwd), "environment": dict(env)}
        return WarmProcess(self, self._ask(asked, output.fileno()))

    def status(self, pid: int) -> int | None:
        """Return the exit status of a child; None while it runs."""
        status = self._ask({"pid": pid})
        return None if status is None else int(status)

    def _ask(self, asked: object, *files: int) -> Any:
        with self._lock:
            if self._socket is None:
                self._begin()
            assert self._socket is not None
            socket.send_fds(self._socket, [json.dumps(asked).encode()], files)
            answer = self._socket.recv(_MESSAGE)
            assert answer, "the parent of the daemons is gone"
            return json.loads(answer)

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=kept,
                pass_fds=(theirs.fileno(),),
            )

    def close(self) -> None:
        """End the parent; what it has started runs on."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait()


def launch(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Any
) -> subprocess.Popen[bytes]:
    """Start a command as users do."""
    return subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(env)
    )


# ---- what follows runs in the parent of the daemons, and in them


_IMPORTED = (
    "twisted.scripts.twistd",
    "twisted.internet.epollreactor",
    "openai_proxy.tap",
    "openai_proxy.daemon.service",
    "openai_proxy.cost.price_list",
    "openai_proxy.observe.lines.console",
)


def _import_all() -> None:
    """Import what a daemon has imported when it listens; nothing of that opens anything."""
    for name in _IMPORTED:
        importlib.import_module(name)
    from twisted.application.service import IServiceMaker
    from twisted.plugin import getPlugins

    assert "openai-proxy" in [plugin.tapname for plugin in getPlugins(IServiceMaker)]
    assert "twisted.internet.reactor" not in sys.modules
    assert threading.active_count() == 1


def _serve(ours: socket.socket) -> dict[str, Any]:
    """Fork for each that is asked for; returns in the children, with what was asked."""
    ended: dict[int, int] = {}
    while True:
        data, files, _, _ = socket.recv_fds(ours, _MESSAGE, 1)
        if not data:
            os._exit(0)
        asked = json.loads(data)
        if "pid" in asked:
            if asked["pid"] not in ended:  # two threads of a test may ask
                pid, status = os.waitpid(asked["pid"], os.WNOHANG)
                ended |= {pid: os.waitstatus_to_exitcode(status)} if pid else {}
            ours.send(json.dumps(ended.get(asked["pid"])).encode())
            continue
        pid = os.fork()
        if pid == 0:
            ours.close()
            return {**asked, "output": files[0]}
        ended.pop(pid, None)
        os.close(files[0])
        ours.send(json.dumps(pid).encode())


def _become(asked: dict[str, Any]) -> None:
    """Take over what a new process would have been given."""
    for number in (1, 2):
        os.dup2(asked["output"], number)
    os.close(asked["output"])
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    sys.argv = asked["command"]


def _main() -> NoReturn:
    sys.path[0] = str(TWISTD.parent)  # as for a script of that name
    _import_all()
    chance = [each for each in gc.get_objects() if isinstance(each, random.Random)]
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who interrupts pytest means the daemons
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    for each in chance:  # or all daemons would give the same numbers to their exchanges
        each.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from twisted.scripts.twistd import run

    sys.exit(run())


if __name__ == "__main__":
    _main()
