"""Read recorded exchanges in a thread before a reload needs them.

A start reads them directly, because no client is served yet. A reload must not:
a large directory takes seconds, during which nothing else would run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred

from ..settings import Settings
from ..settings.derived import base_urls
from ..settings.urls import REPLAY, is_replay
from ..upstream.replay.cassette import Cassette, reader


@frozen
class Wanted:
    """A directory of recorded exchanges, and how to read it."""

    directory: Path
    ignore: frozenset[str]
    makes: bool
    """Whether the directory is created if it does not exist."""


@frozen(eq=False)
class Read:
    """The result of reading them."""

    cassette: Cassette | None = None
    warnings: list[str] = field(factory=list)
    error: OSError | None = None
    """Why they could not be read."""


def wanted(settings: Settings, url: str) -> Wanted:
    """Return the recordings that an upstream's URL `replay:DIR` names."""
    replay = settings.replay
    return Wanted(settings.directory / url[len(REPLAY) :], frozenset(replay.ignore), replay.miss == "record")


def read(what: Wanted) -> Read:
    """Read them; may be called in any thread."""
    warnings: list[str] = []
    try:
        if what.makes:
            what.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Read(Cassette(what.directory, reader(what.ignore), warnings.append), warnings)
    except OSError as error:
        return Read(None, warnings, error)


class Cassettes:
    """The recordings read ahead, for one process. Each can be taken once."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ahead: dict[Wanted, Read] = {}

    def read_ahead(self, settings: Settings) -> Deferred[None] | None:
        """Read in a thread the recordings that `settings` need, and fire; None if they need none."""
        self._ahead = {}
        asked = list(dict.fromkeys(_of(settings)))
        if not asked:
            return None
        done: Deferred[None] = Deferred()

        def read_all() -> None:
            try:
                found = {each: read(each) for each in asked}
            except Exception:  # `take` will raise it again
                found = {}
            self._reactor.callFromThread(keep, found)

        def keep(found: dict[Wanted, Read]) -> None:
            self._ahead = found
            done.callback(None)

        threading.Thread(target=read_all, name="recorded exchanges", daemon=True).start()
        return done

    def take(self, what: Wanted) -> Read:
        """Return what was read ahead, or read it now."""
        return self._ahead.pop(what, None) or read(what)


def _of(settings: Settings) -> Iterator[Wanted]:
    return (wanted(settings, url) for url in base_urls(settings) if is_replay(url))
