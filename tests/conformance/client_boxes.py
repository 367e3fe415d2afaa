#!/usr/bin/env python3
"""Run every block of the pages in docs/clients, those of programs of others too, with the mock upstream.

    PYTHONPATH=tests .venv/bin/python tests/conformance/client_boxes.py [DIRECTORY] [PAGE ...]

Each client is installed into DIRECTORY (a temporary one without it), with pip or npm, in the version that its page names:
about 1.5 GB in all. Not part of the tests for that reason. Exit status 1 if a block does not do what its page shows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from attrs import evolve
from world.console import Block, Session, blocks
from world.ports import HeldPort

CLIENTS = Path(__file__).parents[2] / "docs" / "clients"
HERE = "tests/conformance/client_boxes.py runs it"
PIP = {
    "langchain": ["langchain-openai==1.7.4"],
    "llamaindex": ["llama-index-llms-openai-like==0.8.1", "llama-index-embeddings-openai==0.7.0"],
    "aider": ["aider-chat==0.86.2"],
}
NPM = {
    "node": ["openai@6.49.0"],
    "vercel-ai-sdk": ["ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/openai-compatible@2.0.92"],
    "codex": ["@openai/codex@0.171.0"],
    "continue": ["@continuedev/cli@1.5.47"],
}


def installed(page: str, directory: Path) -> Path | None:
    """Install what a page needs; return the folder of its programs."""
    if page in PIP:
        folder = directory / page
        if not folder.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *PIP[page]], check=True)
        return folder / "bin"
    if page in NPM:
        folder = directory / page
        folder.mkdir(exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder]
        subprocess.run([*command, *NPM[page]], check=True, stdin=subprocess.DEVNULL)
        return folder / "node_modules/.bin"
    return None


def run(page: Path, directory: Path) -> str:
    """Run a page; return what is wrong with it, empty if nothing is."""
    programs = installed(page.stem, directory)
    with tempfile.TemporaryDirectory() as empty:
        held = HeldPort()
        port = str(held.number)
        session = Session(Path(empty), {"8080": port})
        try:
            here = f"openai-proxy --upstream mock: --port tcp:{port}:interface=127.0.0.1"
            session.run(Block("sh", 0, here, ("daemon",)))
            if programs:
                session.run(Block("sh", 0, f"export PATH={programs}:$PATH"))
            if page.stem in NPM:
                (Path(empty) / "node_modules").symlink_to(directory / page.stem / "node_modules")
            for block in blocks(page.read_text(encoding="utf-8")):
                marks = tuple(each for each in block.marks if not each.endswith(HERE))
                session.run(evolve(block, marks=marks))
            session.stop_daemons()
        except (AssertionError, ValueError) as error:
            return str(error)
        finally:
            session.close()
    return ""


def main(arguments: list[str]) -> int:
    """Run the pages that are named, all without names; return how many are wrong."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(arguments[0]) if arguments else Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        pages = [CLIENTS / f"{name}.md" for name in arguments[1:]] or sorted(CLIENTS.glob("*.md"))
        wrong = 0
        for page in pages:
            found = run(page, directory.absolute())
            wrong += bool(found)
            print(f"{page.stem}: {found or 'ok'}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
