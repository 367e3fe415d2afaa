"""From settings to the parts that answer for upstreams that are no servers."""

from __future__ import annotations

from collections.abc import Iterator

from ..exchange.buffered_bytes import BufferedBytes
from ..exchange.messages import Forward
from ..observe.exchange_log.secret_members import without_credentials
from ..observe.redaction import scrubbed
from ..policies.usage.estimate import prompt_tokens
from ..settings import Settings, SettingsError, mode
from ..settings.derived import all_serverless, base_urls
from ..settings.serverless import calls_a_server
from ..settings.urls import is_replay, is_serverless
from ..upstream.answer_timer import UpstreamTimeouts
from ..upstream.mock.forward import MockForward
from ..upstream.replay.faults import FaultRule
from ..upstream.replay.forward import ReplayForward, ReplayRules
from ..wire.fault_kinds import parse_fault
from ..wire.mock_url import parse_mock
from .cassettes import wanted
from .destinations import DEFAULT
from .observers import upstream_keys
from .process_parts import ProcessParts
from .recording import Recorder

_MOST_WARNINGS = 20


class Serverless:
    """Makes a forward for each upstream that is no server; `warnings` are the problems found."""

    def __init__(
        self,
        settings: Settings,
        parts: ProcessParts,
        timeouts: UpstreamTimeouts,
        buffered: BufferedBytes,
        servers: Forward | None,
    ) -> None:
        """`servers` forwards to the live upstream of a replay. Raises SettingsError."""
        self._settings = settings
        self._parts = parts
        self._timeouts = timeouts
        self._buffered = buffered
        self._servers = servers
        self._found: list[str] = []
        self.forwards: dict[str, Forward] = {
            name: self._replay(name, url) if is_replay(url) else self._mock(name, url)
            for name, url in _urls(settings)
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each broken line of a cassette, up to a maximum."""
        rest = len(self._found) - _MOST_WARNINGS
        more = (f"and {rest} more lines of recorded exchanges that are not replayed",) if rest > 0 else ()
        return (*self._found[:_MOST_WARNINGS], *more)

    @property
    def recorded(self) -> int | None:
        """The number of recorded answers; None if no upstream replays."""
        counts = [each.recorded for each in self.forwards.values() if isinstance(each, ReplayForward)]
        return sum(counts) if counts else None

    def _mock(self, name: str, url: str) -> Forward:
        parts = self._parts
        return MockForward(
            name,
            parse_mock(url),
            self._timeouts,
            parts.mock_memory,
            self._buffered,
            prompt_tokens,
            parts.reactor,
            parts.clock,
        )

    def _replay(self, name: str, url: str) -> Forward:
        settings, parts = self._settings, self._parts
        replay = settings.replay
        what = wanted(settings, url)
        found = parts.cassettes.take(what)
        cassette, error = found.cassette, found.error
        self._found += found.warnings
        if cassette is None:
            reason = (error.strerror or str(error)) if error else "unknown"
            raise SettingsError(f"{url}: cannot read recorded exchanges: {reason}")
        live = self._servers if calls_a_server(settings, url) else None
        if not len(cassette) and live is None:
            raise SettingsError(f"{url}: nothing in this directory can be replayed")
        faults = [
            FaultRule(parse_fault(each.kind), each.match, each.model, each.rate, each.seed)
            for each in replay.faults
        ]
        record = None
        if live is not None and replay.miss == "record":
            limit_bytes = settings.limits.exchange_log_body_bytes
            record = Recorder(limit_bytes, upstream_keys(settings), parts.clock)
        return ReplayForward(
            name,
            cassette,
            ReplayRules(what.ignore, replay.repeat, replay.timing, faults),
            self._timeouts,
            self._buffered,
            without_credentials,
            scrubbed,
            parts.reactor,
            parts.clock,
            live,
            record,
        )


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    upstreams = [(entry.name, entry.base_url) for entry in settings.upstreams]
    for name, url in upstreams or [(DEFAULT, settings.upstream.base_url)]:
        if is_serverless(url):
            yield name, url


def risk_of(settings: Settings) -> str | None:
    """Return what any client that reaches an open port can do; None if clients must send a key."""
    if mode(settings) == "tenants":
        return None
    if all_serverless(settings) and not any(calls_a_server(settings, url) for url in base_urls(settings)):
        return "call the upstream, which needs no key"
    return "spend the upstream key" if mode(settings) == "inject" else None
