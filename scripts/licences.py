#!/usr/bin/env python3
"""Write THIRD-PARTY.md, the licences of what the proxy runs with, from an SBOM.

    scripts/sbom sbom.json      calls this

Rows of packages that the SBOM's Python does not need (such as tomli) are kept as they are.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "THIRD-PARTY.md"
HEAD = """\
# What the proxy runs with

The packages of `constraints.txt` and their licences, as the packages themselves name them. Made by `scripts/sbom`.

| package | licence |
|---|---|
"""
SPDX = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
UNSAID = {"protobuf": "BSD-3-Clause"}
"""Licences that are in the package's files and not in its metadata."""


def normal(name: str) -> str:
    """Return a package's name as constraints.txt spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(component: dict[str, Any]) -> str:
    """Return a component's licence as an SPDX expression; ValueError if nothing names one."""
    found = []
    for each in component.get("licenses", ()):
        named = each.get("license", {})
        text = each.get("expression") or named.get("id") or named.get("name", "")
        found.append(SPDX.get(text, text))
    if found:
        return " OR ".join(dict.fromkeys(found)) if len(set(found)) > 1 else found[0]
    added = UNSAID.get(component["name"])
    if added is None:
        raise ValueError(f"{component['name']} names no licence: look, and add it to UNSAID")
    return added


def rows(text: str) -> dict[str, str]:
    """Return package and licence of each row of the table."""
    found = dict(re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", text, re.MULTILINE))
    found.pop("package", None)
    return found


def pinned() -> list[str]:
    """Return the packages of constraints.txt, without those of Python in a browser."""
    lines = re.findall(r"^([a-z0-9-]+)==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return sorted({name for name, rest in lines if "sys_platform == 'emscripten'" not in rest})


def main() -> None:
    """Rewrite the table."""
    components = json.loads(Path(sys.argv[1]).read_text())["components"]
    licences = rows(TABLE.read_text()) if TABLE.exists() else {}
    licences |= {normal(each["name"]): licence(each) for each in components}
    missing = [name for name in pinned() if name not in licences]
    if missing:
        raise SystemExit(f"scripts/licences.py: add by hand to {TABLE.name}: {', '.join(missing)}")
    TABLE.write_text(HEAD + "".join(f"| {name} | {licences[name]} |\n" for name in pinned()))


if __name__ == "__main__":
    main()
