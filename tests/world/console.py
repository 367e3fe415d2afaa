"""Runs what pages tell people to type: blocks of commands, one shell a page, and compares what they print.

The rules are those of docs/README.md, *Commands on a page*. `blocks` and `differs` are pure; `Session` has the shell.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

ROOT = Path(__file__).parents[2]
TYPED = ("console", "sh", "bash", "python")
"""The languages of blocks that are run, or say why not."""
PORTS = ("8080", "8081", "8443", "9090")
"""What pages call the ports of their daemons; each page has free ones in their place."""
COMMAND_S = 60.0
DAEMON_S = 120.0
LISTENS = "listening on "
_MARK = "--end-of-command--"
_FENCE = re.compile(r"^( *)(`{3,})(\w*)\s*$")
_COMMENT = re.compile(r"^\s*<!-- (.*?) -->\s*$")
_FILE_NAME = re.compile(r"^(?:#|//) ((?:[\w.-]+/)*[\w-]*\.[\w.]+)(?:[:;,].*)?$")


@frozen
class Block:
    """A fenced block of a page, with the comments that stand directly above it."""

    language: str
    line: int
    text: str
    marks: tuple[str, ...] = ()

    def mark(self, name: str) -> str | None:
        """Return what follows a mark's name (`<!-- name: rest -->`), empty without more; None without the mark."""
        for mark in self.marks:
            if mark == name or mark.startswith(name + ":"):
                return mark[len(name) + 1 :].strip()
        return None

    @property
    def file(self) -> str | None:
        """The file that a block of another language is, if its first line names one in a comment."""
        found = _FILE_NAME.match(self.text.partition("\n")[0])
        return found[1] if found and self.language not in TYPED else None


@frozen
class Command:
    """What is typed, and what is shown below it."""

    text: str
    shown: tuple[str, ...] = ()


def blocks(page: str) -> list[Block]:
    """Return every fenced block of a page of Markdown, those in lists too."""
    found: list[Block] = []
    marks: list[str] = []
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence:
            inner: list[str] = []
            for _, each in lines:
                if each.strip() == fence[2]:
                    break
                inner.append(each.removeprefix(fence[1]))
            found.append(Block(fence[3], number, "\n".join(inner), tuple(marks)))
            marks = []
        elif comment := _COMMENT.match(line):
            marks.append(comment[1])
        elif line.strip():
            marks = []
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a block: in `console` what follows `$ ` (and `> `), else each line that is whole."""
    if block.language == "python":
        return [Command(f"python - <<'--end-of-python--'\n{block.text}\n--end-of-python--")]
    lines = block.text.splitlines()
    if block.language != "console":
        lines = [line if line.startswith("#") or not line.strip() else "$ " + line for line in lines]
        return [
            Command(each.text) for each in _typed([line for line in lines if line.startswith("$ ")], False)
        ]
    return _typed(lines, True)


def _typed(lines: list[str], console: bool) -> list[Command]:
    found: list[Command] = []
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise ValueError(f"a block of commands begins with '$ ', not with {lines[at]!r}")
        typed = [lines[at][2:]]
        at += 1
        while at < len(lines) and _goes_on(typed):
            typed.append(lines[at].removeprefix("> " if console else "$ "))
            at += 1
        shown = []
        while at < len(lines) and not lines[at].startswith("$ "):
            shown.append(lines[at])
            at += 1
        found.append(Command("\n".join(typed), tuple(shown)))
    return found


def _goes_on(typed: list[str]) -> bool:
    here = re.search(r"<<-?\s*['\"]?(\w+)['\"]?", "\n".join(typed))
    if here:
        return here[1] not in [line.strip() for line in typed[1:]]
    text = "\n".join(typed)
    return text.endswith("\\") or text.count("'") % 2 == 1


_CHANGING = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?", "TIME"),
        (r"\b\d{4}-\d\d-\d\d\b", "DAY"),
        (r'"\d{4}-\d\d"', '"MONTH"'),
        (r"(_)\d{8}(\.jsonl)\b", r"\1DAY\2"),
        (r"sk-proxy-[\w-]{20,}", "KEY"),
        (r"\b[0-9a-f]{64}\b", "SHA-256"),
        (r"\b(proxy|req|resp|chatcmpl|cmpl|file|msg|call|embd|modr|batch)([-_])\w{6,}", r"\1\2ID"),
        (r'("(?:\w+_s|\w+_s_ago|created|created_at)": ?)\d[\d.e-]*', r"\1N"),
        (r"\b\d+(?:\.\d+)? ?(s|ms)\b", r"N \1"),
        (r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])", "VERSION"),
    )
]


def steady(line: str) -> str:
    """Return a line without what differs each time: times, days, ids, keys, durations, versions."""
    for pattern, replacement in _CHANGING:
        line = pattern.sub(replacement, line)
    return line.rstrip()


def differs(shown: tuple[str, ...], printed: list[str]) -> str:
    """Return how what was printed differs from what a page shows, empty if it does not; `...` stands for anything."""
    wanted = [steady(line) for line in shown if line.strip()]
    got = [steady(line) for line in printed if line.strip()]
    if _fits(wanted, got):
        return ""
    return "\n".join(["the page shows:", *wanted, "it printed:", *got])


def _fits(wanted: list[str], got: list[str]) -> bool:
    """Match line by line; a line of `...` is any number of lines. O(len(wanted) * len(got))."""
    reached = {0}
    for line in wanted:
        if line.strip() == "...":
            reached = set(range(min(reached, default=len(got)), len(got) + 1)) if reached else set()
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        reached = {at + 1 for at in reached if at < len(got) and pattern.fullmatch(got[at])}
    return len(got) in reached


@frozen
class _Daemon:
    group: int
    log: Path
    shown: tuple[str, ...]


@frozen
class Session:
    """A shell in a directory of its own, in which a page's blocks run one after the other."""

    directory: Path
    ports: dict[str, str]
    """What a page calls a port, and which one it is here."""
    shell: subprocess.Popen[bytes] = field(init=False)
    daemons: list[_Daemon] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        for path in ROOT.iterdir():
            if path.name in _LINKED:
                (self.directory / path.name).symlink_to(path)
        (self.directory / ".venv").symlink_to(sys.prefix)
        home = self.directory / "home"
        home.mkdir()
        (home / ".curlrc").write_text("silent\nshow-error\nmax-time = 30\n")
        environment = {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        object.__setattr__(self, "shell", shell)
        self._run("trap 'failed=$?' ERR")

    def run(self, block: Block) -> None:
        """Write the file that a block is, or run its commands; AssertionError if one does not do what the page shows."""
        if block.mark("not run") is not None:
            return
        if block.file:
            path = self.directory / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(block.text) + "\n")
        if block.language not in TYPED:
            return
        *before, last = commands(block)
        for command in before:
            self._expect(command, 0)
        listens = next((found for name in _DAEMON if (found := block.mark(name)) is not None), None)
        if listens is None:
            self._expect(last, int(block.mark("status") or 0))
            return
        if block.mark("daemon beside") is None:
            self.stop_daemons()
        self._start(last, listens or LISTENS)

    def stop_daemons(self) -> None:
        """Stop what was started, and compare what it printed with what the page shows."""
        while self.daemons:
            daemon = self.daemons.pop()
            _end(daemon.group)
            printed = self._there(daemon.log.read_text(errors="replace"))
            assert "Traceback" not in printed, printed
            if daemon.shown:
                difference = differs(("...", *_apart(daemon.shown), "..."), printed.splitlines())
                assert not difference, difference

    def close(self) -> None:
        """End whatever is left of the page, also daemons that went into the background by themselves."""
        for daemon in self.daemons:
            _end(daemon.group)
        for pidfile in self.directory.rglob("*.pid"):
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(pidfile.read_text()), signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.communicate()

    def _expect(self, command: Command, status: int) -> None:
        text = command.text
        if "openai-proxy run" in text:
            text = self._surrounded(text)
        printed, code = self._run(f"{{ {self._here(text)}\n}} </dev/null")
        transcript = f"$ {command.text}\n{printed}"
        assert code == status, f"{transcript}\nexit status {code}, not {status}"
        if command.shown:
            difference = differs(command.shown, printed.splitlines())
            assert not difference, f"$ {command.text}\n{difference}"

    def _start(self, command: Command, listens: str) -> None:
        log = self.directory / "home" / f"daemon-{time.monotonic_ns()}.log"
        log.touch()
        text = self._here(self._surrounded(command.text))
        printed, code = self._run(f"set -m; {{ {text}\n}} </dev/null >{log} 2>&1 &\nset +m; echo $!")
        assert code == 0, printed
        daemon = _Daemon(int(printed.split()[-1]), log, command.shown)
        self.daemons.append(daemon)
        end = time.monotonic() + DAEMON_S
        while listens not in log.read_text(errors="replace"):
            waits = time.monotonic() < end and _runs(daemon.group)
            assert waits, f"$ {command.text}\ndid not start:\n{log.read_text()}"
            time.sleep(0.02)

    def _surrounded(self, text: str) -> str:
        """Let a proxy have the mock as upstream if the page names none, and a free port if it names none."""
        files = "\n".join(
            path.read_text() for path in [*self.directory.glob("*.toml"), *self.directory.glob(".env")]
        )
        if not re.search(r"--upstream|OPENAI_API_BASE=|openai-proxy (replay|demo)", text) and not re.search(
            r"(?m)^\s*(base_url\s*=|OPENAI_API_BASE=)", files
        ):
            text = f'export OPENAI_API_BASE="${{OPENAI_API_BASE:-mock:}}"\n{text}'
        if not re.search(r"-p |--port|PORTS?=| -- ", text) and not re.search(r"(?mi)^ports?\s*=", files):
            here = "tcp:8080:interface=127.0.0.1"  # demo asks no variable
            text = f"{text} --port {here}" if "demo" in text else f"export PORTS={here}\n{text}"
        return text

    def _here(self, text: str) -> str:
        return re.sub(rf"\b(?:{'|'.join(self.ports)})\b", lambda found: self.ports[found[0]], text)

    def _there(self, text: str) -> str:
        for name, port in self.ports.items():
            text = re.sub(rf"\b{port}\b", name, text)
        return text

    def _run(self, text: str) -> tuple[str, int]:
        """Return what commands print, on both outputs, and their status: the first that is not 0."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"failed=0\n{text}\nprintf '\\n%s %d\\n' {_MARK} $failed\n".encode())
        self.shell.stdin.flush()
        printed = b""
        end = time.monotonic() + COMMAND_S
        while not (found := re.search(rf"\n{_MARK} (\d+)\n".encode(), printed)):
            ready, _, _ = select.select([self.shell.stdout], [], [], max(0.0, end - time.monotonic()))
            read = os.read(self.shell.stdout.fileno(), 65536) if ready else b""
            assert read, f"{text}\ndid not end:\n{printed.decode(errors='replace')}"
            printed += read
        return self._there(printed[: found.start()].decode(errors="replace")), int(found[1])


_DAEMON = ("daemon", "daemon beside")
_LINKED = {
    ".env.example",
    "Dockerfile",
    "constraints.txt",
    "deploy",
    "examples",
    "openai_proxy.tac",
    "scripts",
}


def _apart(shown: tuple[str, ...]) -> Iterator[str]:
    for line in shown:
        yield line
        yield "..."


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + DAEMON_S
        while _runs(group):
            if time.monotonic() > end:
                os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)
