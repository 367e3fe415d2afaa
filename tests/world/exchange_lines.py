"""What the exchange log of a daemon says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def exchange_lines(directory: Path, *methods: str) -> list[dict[str, Any]]:
    """Return the whole lines of the exchange log in a directory; given `methods`, only of requests with these."""
    lines = [
        json.loads(line)
        for file in directory.glob("*.jsonl")
        for line in file.read_text("utf-8").split("\n")[:-1]
    ]
    return [line for line in lines if not methods or line["request"]["method"] in methods]
