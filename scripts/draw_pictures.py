#!/usr/bin/env python3
"""Draw the pictures of the documentation: a terminal with the demo, and the page at `/`, from running programs.

    .venv/bin/python scripts/draw_pictures.py

Needs Chromium (Debian's package) and the port 8080. Starts `openai-proxy demo`, types what its output says, and lets a
headless Chromium take a picture of each into docs/pictures/. Nothing is fetched. Run it when the output or the page
has changed, and look at the result.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COMMAND = Path(sys.executable).with_name("openai-proxy")
WIDTH = 900
START_S = 30.0

TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; background: #1d2026; }
pre { margin: 0; padding: 22px 26px; color: #d6d9df; font: 14px/1.5 "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
b { color: #8fd18a; font-weight: normal; } i { color: #aab2bf; font-style: normal; }
</style><pre>%s</pre>"""


@contextmanager
def demo(directory: Path) -> Iterator[Path]:
    """Run the demo; return the file with its output."""
    said = directory / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "demo"], cwd=directory, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        end = time.monotonic() + START_S
        while "curl" not in said.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the demo did not start:\n{said.read_text()}")
            time.sleep(0.05)
        yield said
    finally:
        process.terminate()
        process.wait(START_S)


def typed(command: str) -> str:
    """Return the output of a command."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def as_terminal(*parts: tuple[str, str]) -> str:
    """Return a page that looks like a terminal, of pairs of a command and what it printed."""
    shown = [f"<b>$</b> {html.escape(command)}\n<i>{html.escape(output)}</i>" for command, output in parts]
    return TERMINAL % "\n\n".join(shown)


def photograph(address: str, picture: Path, height: int) -> None:
    """Let Chromium show a page and take its picture."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH},{height}",
                f"--screenshot={picture}",
                address,
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size} bytes")


def main() -> None:
    """Draw all."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        with demo(directory) as said:
            command = (
                "curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\\n"
                '  -d \'{"model": "mock-echo", "messages": [{"role": "user", "content": "Hello"}]}\' | jq -r .choices[0].message.content'
            )
            answer = typed(command)
            started = said.read_text().strip()
            photograph("http://127.0.0.1:8080/", PICTURES / "page.png", 720)
        # the time and what follows the outcome would take a second line
        lines = [re.sub(r"^\S+Z (.* complete) .*", r"... \1 ...", line) for line in started.splitlines()]
        page = directory / "terminal.html"
        page.write_text(as_terminal(("openai-proxy demo", "\n".join(lines)), (command, answer)))
        photograph(page.as_uri(), PICTURES / "terminal.png", 470)


if __name__ == "__main__":
    main()
