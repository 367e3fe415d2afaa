"""SIGHUP with several workers: all of them change, or none.

The supervisor loads and checks the configuration once. Then every worker builds
for it, and they use it only if all could build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.python.failure import Failure

from ..daemon.reloads import report_refused, report_reloaded
from ..daemon.service import ProxyService, kept
from ..logs import logger
from ..settings import Settings, SettingsError, warnings
from .link import LinkLost, Refused
from .messages import COMMIT, DISCARD, DRAIN, PREPARE
from .process import WorkerProcess

log = logger("openai_proxy")

PREPARE_S = 30.0
"""The time that a worker may take to build for new settings."""


class Reloading:
    """Runs one reload after the other; a signal that comes meanwhile is remembered.

    `load` reads the configuration, `check` builds for it (both raise
    SettingsError), `commit` uses it and fires when all workers do.
    """

    def __init__(
        self,
        reactor: Any,
        load: Callable[[], Settings],
        check: Callable[[Settings], ProxyService],
        commit: Callable[[Settings, list[WorkerProcess]], Deferred[Any]],
        ended: Callable[[bool], None] = lambda worked: None,
        read_ahead: Callable[[Settings], Deferred[None] | None] = lambda settings: None,
    ) -> None:
        self._ended = ended
        """Called with whether a reload worked."""
        self._read_ahead = read_ahead
        """Begins to read recordings that `check` needs."""
        self._reactor = reactor
        self._load = load
        self._check = check
        self._commit = commit
        self._running = False
        self._again: Callable[[], None] | None = None

    def begin(self, current: Callable[[], Settings], ready: Callable[[], list[WorkerProcess]]) -> None:
        """Reload now, or after the reload that runs."""
        if self._running:
            self._again = lambda: self.begin(current, ready)
            return
        self._running = True
        done = Deferred.fromCoroutine(self._reload(current(), ready()))
        done.addErrback(lambda failure: log.failure("the reload failed", failure))
        done.addCallback(lambda _: self._finished())

    def _finished(self) -> None:
        self._running = False
        again, self._again = self._again, None
        if again is not None:
            again()

    async def _reload(self, current: Settings, workers: list[WorkerProcess]) -> None:
        try:
            settings = kept(current, self._load())
            reading = self._read_ahead(settings)
            if reading is not None:
                await reading
            checked = self._check(settings)
        except SettingsError as error:
            report_refused(str(error))
            self._ended(False)
            return
        asked = [
            each.link.request(PREPARE, settings).addTimeout(PREPARE_S, self._reactor) for each in workers
        ]
        answers: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        # a worker that died meanwhile does not refuse: its successor starts with the settings then in use
        failures = [result.value for succeeded, result in answers if not succeeded]
        refusals = [each for each in failures if isinstance(each, Refused | TimeoutError)]
        if refusals:
            for each in workers:
                each.link.send(DISCARD)
            why = str(refusals[0]) or "a worker did not answer"
            report_refused(why)
            self._ended(False)
            return
        await self._commit(settings, workers)
        old_warnings = warnings(current)
        checked.warn(line for line in checked.warnings if line not in old_warnings)
        report_reloaded(checked.serving.exchanger.mode)
        self._ended(True)


def change_over(
    reactor: Any, workers: Iterable[WorkerProcess], prepared: Sequence[WorkerProcess]
) -> Deferred[Any]:
    """Let the workers that have `prepared` use it, replace the others. Fires when none uses the old settings."""
    committed: list[Deferred[Any]] = []
    for each in workers:
        if each in prepared:
            committed.append(_use_prepared(reactor, each))
        elif not each.is_ended:
            each.was_replaced = True
            if each.is_ready:
                each.link.send(DRAIN)
            else:
                each.kill()
    return DeferredList(committed)


def _use_prepared(reactor: Any, worker: WorkerProcess) -> Deferred[Any]:
    """Fire when a worker uses what it has prepared, or never will because a successor replaces it."""
    done = worker.link.request(COMMIT).addTimeout(PREPARE_S, reactor)

    def failed(failure: Failure) -> None:
        if not failure.check(LinkLost):
            log.failure("a worker did not take over its new configuration", failure)

    return done.addErrback(failed)
