"""The daemon's life cycle: listen, serve, reload, drain, stop.

Owns the ports and, through `serving`, every other object that lives as long as
the process.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from .. import __version__
from ..downstream.site import ProxySite
from ..logs import logger, set_level
from ..net.descriptors import raise_limit
from ..net.listening import (
    Listener,
    Renewal,
    StartError,
    announce,
    describe_port,
    listen,
    one_line,
    read_certificates,
    use_certificates,
)
from ..observe.interfaces import Observer
from ..settings import Settings, SettingsError
from ..settings.checks import check
from . import signals
from .cassettes import Cassettes
from .notes import new_notes, next_step, on_notes, start_notes
from .reloads import report_refused, report_reloaded
from .serving import Prepared, Serving
from .worker_parts import WorkerParts

log = logger("openai_proxy")


@frozen(eq=False)
class PreparedService:
    """What a reload has built and does not use yet."""

    serving: Prepared
    renewal: Renewal


class ProxyService(MultiService):
    """The daemon as a Twisted service.

    States: built, listening (privilegedStartService), running
    (startService), draining (stopService called), stopped.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        reload: Callable[[], Settings],
        worker: WorkerParts | None = None,
        watching: Sequence[Observer] = (),
        cassettes: Cassettes | None = None,
    ) -> None:
        """`watching` are observers besides those that the settings name; `cassettes` may have been read for
        them already.

        Raises SettingsError.
        """
        super().__init__()
        self._worker = worker
        self._reactor = reactor
        self._load = reload
        self._listeners: list[Listener] = []
        self._terminating = False
        self._early: list[int] = []
        self._reading = self._again = False
        """Whether a reload waits for recorded exchanges, and whether another one was requested meanwhile."""
        self.serving = Serving(reactor, settings, worker, watching, cassettes)

    # ---- start

    def privilegedStartService(self) -> None:
        """Listen, while twistd may still open low ports."""
        sys.excepthook = one_line
        raise_limit()
        settings = self.serving.exchanger.settings
        set_level(settings.log_level)
        if self._worker is None:
            self.announce()
            signals.remember(self._early)
            self._reactor.callWhenRunning(self._take_signals)
        for description in settings.ports:
            self._listen(description, self.serving.site)
        if self.serving.admin_site is not None and settings.admin.port is not None:
            self._listen(settings.admin.port, self.serving.admin_site)
        if self._worker is None:
            self._reactor.callWhenRunning(self._announce_next_step)
        super().privilegedStartService()

    def _take_signals(self) -> None:
        """Take over the signals once the reactor runs, and obey those that came while the daemon started."""
        signals.install(
            self._reactor,
            terminate=self.terminate,
            reload=self.reload,
            reopen=lambda: self.serving.publisher.reopen(),
        )
        if signals.ends(self._early):
            self.terminate()
        elif self._early:
            self.reload()

    def announce(self) -> None:
        """Log the facts about this daemon, and unknown variables of its environment."""
        exchanger = self.serving.exchanger
        log.info(
            "openai-proxy {version}, mode {mode}, upstream {upstream}",
            version=__version__,
            mode=exchanger.mode,
            upstream=exchanger.reachability.url,
        )
        self.warn(exchanger.warnings)
        for line in (*on_notes(exchanger.settings), *start_notes(exchanger.settings)):
            log.info("{line}", line=line)

    def _announce_next_step(self) -> None:
        line = next_step(self.serving.exchanger.settings, self.addresses)
        if line is not None:
            log.info("{line}", line=line)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each probable mistake in the settings."""
        return self.serving.exchanger.warnings

    @property
    def addresses(self) -> list[str]:
        """The addresses on which the API listens."""
        return [describe_port(each.port) for each in self._listeners if each.site is self.serving.site]

    @property
    def is_ending(self) -> bool:
        """Whether a signal or a caller has asked for the end."""
        return self._terminating

    def warn(self, lines: Iterable[str]) -> None:
        """Log `lines` as warnings."""
        for line in lines:
            log.warn("warning: {line}", line=line)

    def _listen(self, description: str, site: ProxySite) -> None:
        opens = listen if self._worker is None else self._worker.listen
        port = opens(self._reactor, description, site)
        self._listeners.append(Listener(port, description, site))
        site.ports.append(port)
        if self._worker is not None:
            return
        # logged only once signals are handled: a reader of the line may send one at once
        risk = self.serving.exchanger.risk if site is self.serving.site else None
        self._reactor.callWhenRunning(announce, port, risk)

    def startService(self) -> None:
        """Open what must be opened after the fork, and serve; raise StartError."""
        self.serving.start()
        self._reactor.callWhenRunning(_settle_garbage_collector)
        super().startService()

    # ---- reload

    def reload(self) -> None:
        """Load the configuration again; a broken one is reported and the old one stays.

        Recorded exchanges are read before it is used; a signal that comes
        meanwhile is obeyed afterwards.
        """
        if self.serving.draining:
            return
        if self._reading:
            self._again = True
            return
        try:
            settings = kept(self.serving.exchanger.settings, self._load())
        except SettingsError as error:
            self._refuse(str(error))
            return
        reading = self.serving.cassettes.read_ahead(settings)
        if reading is None:
            self._use(settings)
        else:
            self._reading = True
            reading.addCallback(lambda _: self._have_read(settings))
            reading.addErrback(lambda failure: log.failure("the reload failed", failure))

    def _have_read(self, settings: Settings) -> None:
        self._reading = False
        again, self._again = self._again, False
        if again:
            self.reload()
        elif not self.serving.draining:
            self._use(settings)

    def _refuse(self, reason: str) -> None:
        report_refused(reason)
        self.serving.note_reload(worked=False)

    def _use(self, settings: Settings) -> None:
        """Use new settings, if everything can be built for them."""
        try:
            prepared = self.prepare(settings)
        except (SettingsError, StartError) as error:
            self._refuse(str(error))
            return
        except OSError as error:
            report_refused(str(error), "an observer cannot start")
            self.serving.note_reload(worked=False)
            return
        old_warnings, old = self.warnings, self.serving.exchanger.settings
        self.commit(prepared)
        self.warn(line for line in self.warnings if line not in old_warnings)
        report_reloaded(self.serving.exchanger.mode)
        self.serving.note_reload(worked=True)
        for line in new_notes(old, self.serving.exchanger.settings):
            log.info("{line}", line=line)

    def prepare(self, settings: Settings) -> PreparedService:
        """Build everything for new settings, including certificates, without using it yet.

        Raises SettingsError, StartError and OSError.
        """
        renewal = read_certificates(self._reactor, self._listeners)
        return PreparedService(self.serving.prepare(settings), renewal)

    def commit(self, prepared: PreparedService) -> None:
        """Use the prepared parts for new exchanges and connections."""
        self.serving.commit(prepared.serving)
        use_certificates(prepared.renewal)

    def discard(self, prepared: PreparedService) -> None:
        """Drop the prepared parts; everything stays as it is."""
        self.serving.discard(prepared.serving)

    # ---- stop

    def terminate(self) -> None:
        """SIGTERM or SIGINT: drain; the second one aborts."""
        if self._terminating:
            log.info("second signal: aborting what still runs")
            self.serving.abort()
        else:
            self._terminating = True  # set here, because the reactor begins to stop a turn later
            self._reactor.stop()

    def stopService(self) -> Deferred[Any]:
        """Drain: accept nothing new, let running exchanges finish within `drain_timeout_s`, abort the rest."""
        closing = DeferredList(
            [maybeDeferred(each.port.stopListening) for each in self._listeners], consumeErrors=True
        )
        done: Deferred[Any] = DeferredList([closing, self.serving.drain()])
        done.addCallback(lambda _: self.serving.close())
        done.addCallback(lambda _: MultiService.stopService(self))
        return done


def kept(old: Settings, new: Settings) -> Settings:
    """Return the new settings, but with the old values of those that cannot change at run time; log these.

    Raises SettingsError if the new settings do not fit the values that stay,
    because each set was checked only by itself, or if the TOML file is empty
    now: a full disk leaves it so, and the clients' keys would go upstream.
    """
    if new.blank_file is not None and old.blank_file is None:
        raise SettingsError(f"the configuration {new.blank_file} is empty")
    if (new.ports, new.admin.port) != (old.ports, old.admin.port):
        log.warn("reload: ports cannot change while running; the old ones stay")
    if new.workers != old.workers:
        log.warn("reload: the number of workers cannot change while running; the old one stays")
    if new.key_store != old.key_store:
        log.warn("reload: key_store.url cannot change while running; the old one stays")
    if new.metrics != old.metrics:
        log.warn("reload: metrics.keys cannot change while running; the old one stays")
    admin = new.admin.model_copy(update={"port": old.admin.port})
    settings = new.model_copy(
        update={
            "ports": old.ports,
            "admin": admin,
            "workers": old.workers,
            "key_store": old.key_store,
            "metrics": old.metrics,
        }
    )
    check(settings)
    return settings


def _settle_garbage_collector() -> None:
    """Exclude what was built at start from every garbage collection, and collect less often.

    Exchanges create no long-lived reference cycles: with the default threshold
    of 700 objects a collection came every few exchanges and took 7 % of the
    time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(25_000, 20, 20)
