"""The daemon and its upstream, for tests over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import frozen
from integration.daemon import Daemon
from integration.scripted_upstream import Upstream


@frozen
class Pair:
    """A daemon and the upstream behind it."""

    daemon: Daemon
    upstream: Upstream

    @property
    def port(self) -> int:
        return self.daemon.port


Start = Callable[..., Pair]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start daemons of this test's own: `start(upstream=..., **what Daemon takes)`."""
    pairs: list[Pair] = []

    def started(upstream: Upstream | None = None, **options: Any) -> Pair:
        directory: Path = options.pop("directory", None) or tmp_path_factory.mktemp("daemon")
        upstream = upstream or Upstream()
        try:
            pair = Pair(Daemon(directory, options.pop("url", upstream.url), **options), upstream)
        except BaseException:
            upstream.close()
            raise
        pairs.append(pair)
        return pair

    yield started
    for pair in pairs:
        pair.daemon.stop()
        pair.upstream.close()
    for pair in pairs:
        assert not pair.daemon.defects, "\n\n".join(pair.daemon.defects)
        assert pair.upstream.errors == []


@pytest.fixture(scope="session")
def _shared_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    upstream = Upstream()
    # A receive timeout of the parser's own is part of some cases: short, so that they are.
    daemon = Daemon(tmp_path_factory.mktemp("shared"), upstream.url, env={"LIMITS__HEADER_TIMEOUT_S": "2"})
    yield Pair(daemon, upstream)
    daemon.stop()
    upstream.close()


@pytest.fixture
def pair(_shared_pair: Pair) -> Iterator[Pair]:
    """Share a daemon in pass-through mode between tests; its log must stay clean."""
    _shared_pair.upstream.begin()
    before = len(_shared_pair.daemon.defects)
    yield _shared_pair
    assert _shared_pair.daemon.running
    assert _shared_pair.daemon.defects[before:] == []
    assert _shared_pair.upstream.errors == []


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Issue certificates that only tests trust."""
    return trustme.CA()
