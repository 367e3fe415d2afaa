#!/usr/bin/env python3
"""Make a checkout ready to be built as a release: check its tag, write its notes, add the address of its repository.

    scripts/release.py TAG URL [NOTES]

TAG must be `v` and the version of the package, and CHANGELOG.md must have a chapter of that version, which goes to
NOTES (default: release-notes.md). URL, the repository's address, goes into setup.cfg, so that a fork's package leads
to the fork. `.github/workflows/release.yml` runs this; nothing of it is committed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "Source": "",
    "Documentation": "/tree/{tag}/docs",
    "Changelog": "/blob/{tag}/CHANGELOG.md",
    "Issues": "/issues",
    "Security": "/blob/{tag}/SECURITY.md",
}


def stop(line: str) -> NoReturn:
    raise SystemExit(f"scripts/release.py: {line}")


def checked_version(tag: str, module: str) -> str:
    """Return the version of the package, of which `module` is the text; it must be that of the tag."""
    found = re.search(r'(?m)^__version__ = "([^"]+)"$', module)
    version = found[1] if found else stop("openai_proxy/__init__.py has no __version__")
    if tag != f"v{version}":
        stop(f"the tag is {tag}, and the version of openai_proxy/__init__.py is {version}")
    return version


def notes_of(version: str, changelog: str) -> str:
    """Return the chapter of a version."""
    found = re.search(rf"(?ms)^## \[{re.escape(version)}\][^\n]*\n(.+?)(?=^## |\Z)", changelog)
    if found is None or not found[1].strip():
        stop(f"CHANGELOG.md has no chapter [{version}]: rename [Unreleased], and add the day")
    return found[1].strip() + "\n"


def with_urls(config: str, url: str, tag: str) -> str:
    """Return setup.cfg with the addresses of the project."""
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", url):
        stop(f"{url!r} is no address of a repository")
    lines = "".join(f"    {name} = {url}{page.format(tag=tag)}\n" for name, page in PAGES.items())
    changed, count = re.subn(
        r"(?m)^(keywords = .*\n)", lambda found: f"{found[1]}project_urls =\n{lines}", config
    )
    if count != 1 or "project_urls" in config:
        stop("setup.cfg: one `keywords =`, and no project_urls, was expected")
    return changed


def main(tag: str, url: str, notes: str = "release-notes.md") -> None:
    version = checked_version(tag, (ROOT / "openai_proxy/__init__.py").read_text("utf-8"))
    text = notes_of(version, (ROOT / "CHANGELOG.md").read_text("utf-8"))
    config = ROOT / "setup.cfg"
    config.write_text(with_urls(config.read_text("utf-8"), url, tag), "utf-8")
    Path(notes).write_text(text, "utf-8")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        stop("usage: scripts/release.py TAG URL [NOTES]")
    main(*sys.argv[1:])
