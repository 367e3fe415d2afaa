"""A daemon, the upstream that it forwards to, and others beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import frozen

from world.daemon import Daemon, configured
from world.scripts import answer
from world.upstream import Upstream


@frozen
class World:
    """Both ends of what a test looks at."""

    daemon: Daemon
    upstream: Upstream

    @property
    def port(self) -> int:
        return self.daemon.port


@contextlib.contextmanager
def serving(
    directory: Path, base: str = "/v1", upstream: Upstream | None = None, **options: Any
) -> Iterator[World]:
    """Run a daemon with these options for several tests; neither end may have had a defect when they are over.

    The upstream's base URL ends in `base`.
    """
    upstream = upstream or Upstream()
    try:
        daemon = Daemon(directory, upstream.url.removesuffix("/v1") + base, **options)
        yield World(daemon, upstream)
        daemon.stop()
    finally:
        upstream.close()
    assert daemon.defects == []
    assert upstream.errors == []


UPSTREAMS = """
[[upstreams]]
name = "first"
base_url = "{0}"
api_key = "sk-first"
[[upstreams]]
name = "second"
base_url = "{1}"
api_key = "sk-second"
priority = {2}
"""


def before_two(
    start: Callable[..., World],
    second: Upstream,
    directory: Path,
    toml: str = "",
    priority: int = 1,
    env: Mapping[str, str] = MappingProxyType({}),
) -> World:
    """Start a daemon before two upstreams, by default with `second` in reserve; both answer every request."""
    first = Upstream()
    first.script = answer()
    return start(
        upstream=first,
        env={"RETRY__MAX_RETRIES": "2", "OBSERVERS": "none", **env},
        **configured(directory, UPSTREAMS.format(first.url, second.url, priority) + toml),
    )
