"""The daemon and its upstream, for tests over real sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from world.daemon import Daemon
from world.scripts import answer, tell_who_and_what
from world.services import RedisServer
from world.upstream import Upstream
from world.world import World, serving

Start = Callable[..., World]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start daemons of this test's own: `start(upstream=..., **what Daemon takes)`."""
    worlds: list[World] = []

    def started(upstream: Upstream | None = None, **options: Any) -> World:
        directory: Path = options.pop("directory", None) or tmp_path_factory.mktemp("daemon")
        upstream = upstream or Upstream()
        try:
            world = World(Daemon(directory, options.pop("url", upstream.url), **options), upstream)
        except BaseException:
            upstream.close()
            raise
        worlds.append(world)
        return world

    yield started
    for world in worlds:
        world.daemon.stop()
        world.upstream.close()
    for world in worlds:
        assert not world.daemon.defects, "\n\n".join(world.daemon.defects)
        assert world.upstream.errors == []


@pytest.fixture(scope="session")
def _shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # A receive timeout of the parser's own is part of some cases: short, so that they are.
    with serving(tmp_path_factory.mktemp("shared"), env={"LIMITS__HEADER_TIMEOUT_S": "5"}) as world:
        yield world


@pytest.fixture
def world(_shared_world: World) -> Iterator[World]:
    """Share a daemon in pass-through mode between tests; its log must stay clean."""
    _shared_world.upstream.begin()
    before = len(_shared_world.daemon.defects)
    yield _shared_world
    assert _shared_world.daemon.running
    assert _shared_world.daemon.defects[before:] == []
    assert _shared_world.upstream.errors == []


@pytest.fixture(scope="session")
def _cached_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("cached"), env={"CACHE__URL": "memory:"}) as world:
        yield world


@pytest.fixture
def cached(_cached_world: World) -> Iterator[World]:
    """Share a daemon with an embedded cache: each test is a tenant of its own (see `world.requests.tenant`).

    Its upstream says who asked what, and has not been asked.
    """
    _cached_world.upstream.begin(tell_who_and_what)
    yield _cached_world
    assert _cached_world.upstream.errors == []


@pytest.fixture
def second() -> Iterator[Upstream]:
    """Run another upstream, for a daemon that has two; it answers every request."""
    upstream = Upstream()
    upstream.script = answer()
    yield upstream
    upstream.close()
    assert upstream.errors == []


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Run a Redis of this test's own."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Issue certificates that only tests trust."""
    return trustme.CA()


@pytest.fixture
def tls_port(tmp_path: Path, authority: trustme.CA) -> str:
    """Name an endpoint with TLS and a certificate for `localhost`, of this test's own."""
    pem = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    return f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Make what a client trusts `authority` with."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
