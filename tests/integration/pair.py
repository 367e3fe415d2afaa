"""A daemon and the upstream behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from integration.daemon import Daemon
from integration.scripted_upstream import Upstream


@frozen
class Pair:
    """Both ends of what a test looks at."""

    daemon: Daemon
    upstream: Upstream

    @property
    def port(self) -> int:
        return self.daemon.port


@contextlib.contextmanager
def serving(directory: Path, **options: Any) -> Iterator[Pair]:
    """Run a daemon with these options for several tests; neither end may have had a defect when they are over."""
    upstream = Upstream()
    try:
        daemon = Daemon(directory, upstream.url, **options)
        yield Pair(daemon, upstream)
        daemon.stop()
    finally:
        upstream.close()
    assert daemon.defects == []
    assert upstream.errors == []
