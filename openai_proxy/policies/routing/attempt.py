"""The outcome of one attempt at one of several upstreams, and what the health tables learn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ...exchange.messages import ProxyRequest, ProxyResponse
from ...exchange.upstream_errors import UpstreamError
from ...wire.backoff import maybe_retry_after_s
from ...wire.body_headers import JSON, is_event_stream, media_type_and_coding
from ...wire.first_events import LIMIT_BYTES, FirstEvents, error_of_document
from ..bodies.peeked_body import PeekedBody, peek
from .error_answer import PEEK_BYTES
from .health import LONGEST_MODEL, UpstreamHealth
from .missing_state import says_missing
from .quota_error import NO_QUOTA, SPENT, error_code, says_too_dear
from .repeatable import creates_nothing, is_kept
from .rules import may_go_elsewhere, says_no_retry, status_may_be_retried
from .table import Upstream
from .too_long import says_too_long

FIRST_EVENT_S = 20.0
"""How long the head of a stream waits for its first event: less than clients and balancers wait for a head."""
_REFUSED_HERE = frozenset((401, 402, 403, 404, 405))
"""Statuses with which a substitute says that it cannot serve the request instead."""
_MAYBE_REFUSED = frozenset((400, 422))
_MAYBE_SPENT = frozenset((400, 401, 402, 403))
"""Statuses with which some say that the account has no money left, for which OpenAI has a 429."""
_UNKNOWN_MODEL = frozenset(("model_not_found", "DeploymentNotFound", "invalid_model"))
_LIMITED = frozenset(("429", "rate_limit_exceeded"))
"""Codes of errors sent with status 200 that mean the same as a 429."""


class Task:
    """One request, with what all its attempts share."""

    __slots__ = ("candidates", "model", "names_model", "replayable", "request", "searches", "session")

    def __init__(
        self,
        request: ProxyRequest,
        candidates: tuple[Upstream, ...],
        names_model: bool,
        searches: bool = False,
        session: int | None = None,
    ) -> None:
        self.request = request
        self.candidates = candidates
        self.names_model = names_model
        self.searches = searches
        """It refers to state whose upstream is unknown."""
        self.session = session
        """The session, if requests are distributed by session."""
        exchange = request.exchange
        model = request.model or exchange.model or "/" + exchange.endpoint.partition("/")[0]
        self.model: str = model if len(model) <= LONGEST_MODEL else model[:LONGEST_MODEL]
        """The name in the health tables: the model, else the family of the API, as `/files`."""
        self.replayable = is_kept(request.body)

    def key_for(self, upstream: Upstream) -> bytes:
        return upstream.key_for(self.request.credential)

    @property
    def creates_nothing(self) -> bool:
        """See `policies.routing.repeatable`."""
        request = self.request
        return creates_nothing(request.method, request.exchange.endpoint, request.document, request.headers)


class Attempt:
    """One attempt. Has either a `response`, still to be delivered or discarded, or an `error`.

    `in_place`: this upstream was asked because a better one failed or seemed
    unhealthy. `is_final`: this is the answer. Otherwise it is the answer only
    if no other upstream does better; `may_move` says whether another may be
    asked. `no_substitute`: it was asked instead of another upstream and cannot
    replace it.
    """

    __slots__ = (
        "began",
        "error",
        "in_place",
        "is_final",
        "key",
        "may_move",
        "no_substitute",
        "reason",
        "response",
        "task",
        "upstream",
    )

    def __init__(self, task: Task, upstream: Upstream, key: bytes, began: float, in_place: bool) -> None:
        self.task = task
        self.upstream = upstream
        self.key = key
        self.began = began
        self.in_place = in_place
        self.response: ProxyResponse | None = None
        self.error: UpstreamError | None = None
        self.is_final = True
        self.may_move = False
        self.no_substitute = False
        self.reason = ""
        """Why it failed, in a word or a message."""

    def better_of(self, held: Attempt | None) -> Attempt:
        """Return the failure that is the better answer for the client, and discard the other."""
        if held is None:
            return self
        if self.no_substitute or (self.error is not None and held.error is None and not held.no_substitute):
            self.discard()
            return held
        held.discard()
        return self

    async def may_send_again(self) -> bool:
        """Return whether the request's body can be sent to another upstream.

        An upload that is kept is rewound once nothing sends it any more, which
        is when the whole answer has come.
        """
        body = self.task.request.body
        if body is None or isinstance(body, bytes):
            return True
        if self.response is not None:
            self.response, _ = await peek(self.response, PEEK_BYTES)
            if not cast(PeekedBody, self.response.body).ended:
                return False
        return body.rewind()

    def discard(self) -> None:
        """Free the connection that it holds."""
        if self.response is not None:
            self.response.body.discard()


class Judge:
    """Judges an attempt and updates the health tables.

    One exchange counts once: only its first failure at an upstream is recorded.
    """

    def __init__(
        self,
        health: UpstreamHealth,
        probe: Callable[[Upstream], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        timers: Any,
    ) -> None:
        self._health = health
        self._probe = probe
        self._clock = clock
        self._wall_clock = wall_clock
        self._timers = timers

    def failure(self, attempt: Attempt, error: UpstreamError) -> None:
        """Judge an attempt that got no answer."""
        attempt.error = error
        attempt.is_final = False
        attempt.reason = error.log_text
        task, request = attempt.task, attempt.task.request
        attempt.may_move = task.replayable and may_go_elsewhere(error, request.method, request.headers)
        if self._counts(attempt) and self._health.failed(
            attempt.upstream, task.model, error, attempt.began, self._clock()
        ):
            self._probe(attempt.upstream)

    async def answer(self, attempt: Attempt, response: ProxyResponse) -> None:
        """Judge an answer by its status and, if necessary, by the beginning of its body."""
        attempt.response = response
        status = response.status
        if status == 429:
            await self._limited(attempt, response)
        elif status >= 500:
            self._broken(attempt, str(status))
        elif status < 300:
            await self._maybe_error_behind_200(attempt, response)
        elif status in _MAYBE_SPENT and (spent := await self._maybe_spent(attempt)) is not None:
            self._spent(attempt, rests=spent)
        else:
            await self._other(attempt, attempt.response)

    async def _limited(self, attempt: Attempt, response: ProxyResponse) -> None:
        response, beginning = await peek(response, PEEK_BYTES)
        attempt.response = response
        spent = error_code(beginning, response.headers) == NO_QUOTA
        asked_s = maybe_retry_after_s(response.headers, self._wall_clock())
        self._health.limited(attempt.upstream, attempt.key, spent, asked_s, attempt.began, self._clock())
        self._fail(attempt, NO_QUOTA if spent else "429")
        attempt.may_move = self._may_move(attempt, response, 429, other_account=spent)

    async def _maybe_spent(self, attempt: Attempt) -> bool | None:
        """Return whether the account of a refusal has nothing left, if another upstream could answer.

        False if it has too little for this request only; None if the refusal is
        about something else.
        """
        response = attempt.response
        assert response is not None
        if len(attempt.task.candidates) < 2:
            return None
        attempt.response, beginning = await peek(response, PEEK_BYTES)
        if response.status == 402:
            return not says_too_dear(beginning, response.headers)
        return True if error_code(beginning, response.headers) == NO_QUOTA else None

    def _spent(self, attempt: Attempt, rests: bool) -> None:
        """Ask another upstream, which has another account. A substitute that has nothing left is none.

        `rests`: the key is not used for a while.
        """
        response = attempt.response
        assert response is not None
        if rests:
            asked_s = maybe_retry_after_s(response.headers, self._wall_clock())
            spent = asked_s is None
            self._health.limited(attempt.upstream, attempt.key, spent, asked_s, attempt.began, self._clock())
        else:
            self._answered(attempt, response.status)
        self._fail(attempt, NO_QUOTA)
        attempt.no_substitute = attempt.in_place
        attempt.may_move = self._may_move(attempt, response, 429, other_account=True)

    def _broken(self, attempt: Attempt, reason: str, status: int | None = None) -> None:
        """Note a failure of the model; `reason` is a status or the code of an error."""
        if self._fail(attempt, reason):
            self._health.broken(attempt.upstream, attempt.task.model, reason, attempt.began, self._clock())
        response = attempt.response
        assert response is not None
        attempt.may_move = self._may_move(attempt, response, status or response.status)

    async def _maybe_error_behind_200(self, attempt: Attempt, response: ProxyResponse) -> None:
        """Look for an error in the first event of a stream, or in a short document, if another upstream could answer."""
        task = attempt.task
        code = None
        if len(task.candidates) > 1 and task.replayable and task.request.method == b"POST":
            media_type, coding = media_type_and_coding(response.headers)
            whole = response.body.whole
            if is_event_stream(media_type, task.request.exchange.streaming):
                if task.creates_nothing:
                    response, code = await first_error(response, coding, self._timers)
                    attempt.response = response
            elif media_type == JSON and whole is not None and len(whole) <= LIMIT_BYTES:
                code = error_of_document(whole, coding)
        if code is None:
            self._answered(attempt, response.status)
        elif (spent := code == "402" or code.lower() in SPENT) or code in _LIMITED:
            self._health.limited(attempt.upstream, attempt.key, spent, None, attempt.began, self._clock())
            self._fail(attempt, code)
            attempt.may_move = task.creates_nothing
        else:
            self._broken(attempt, code, 500)

    async def _other(self, attempt: Attempt, response: ProxyResponse) -> None:
        """Judge a redirect or a refusal: it is final, unless it comes from a substitute that cannot serve the request."""
        status = response.status
        self._answered(attempt, status)
        if status == 401:
            attempt.task.request.exchange.refused_keys += (attempt.upstream.name,)
        if status in (408, 409):
            self._fail(attempt, str(status))
            attempt.may_move = self._may_move(attempt, response, status)
        elif attempt.in_place and status in _REFUSED_HERE:
            # an upstream without the state may still have the model
            self._refused(attempt, str(status), lacks_model=not (status == 404 and attempt.task.searches))
        elif attempt.in_place and status == 413:  # Groq, for a prompt above the tokens of a minute
            self._refused(attempt, "413", lacks_model=False)
        elif attempt.in_place and status in _MAYBE_REFUSED:
            attempt.response, beginning = await peek(response, PEEK_BYTES)
            code = error_code(beginning, response.headers)
            if code in _UNKNOWN_MODEL:
                self._refused(attempt, code)
            elif says_too_long(beginning, response.headers):
                self._refused(attempt, "context_length_exceeded", lacks_model=False)
            elif attempt.task.searches and says_missing(status, beginning, response.headers):
                self._refused(attempt, code, lacks_model=False)

    def _refused(self, attempt: Attempt, reason: str, lacks_model: bool = True) -> None:
        task = attempt.task
        self._fail(attempt, reason)
        attempt.no_substitute = True
        attempt.may_move = task.replayable and not task.request.upgrade
        if lacks_model:
            self._health.unknown_model(attempt.upstream, task.model, self._clock())

    def _answered(self, attempt: Attempt, status: int) -> None:
        task = attempt.task
        self._health.answered(attempt.upstream, task.model, attempt.key, status, attempt.began, self._clock())

    def _fail(self, attempt: Attempt, reason: str) -> bool:
        """Note in the exchange that the attempt failed; return whether it is the first failure there."""
        attempt.is_final = False
        attempt.reason = reason
        return self._counts(attempt)

    def _counts(self, attempt: Attempt) -> bool:
        failed = attempt.task.request.exchange.failed_upstreams
        first = attempt.upstream.name not in failed
        failed.append(attempt.upstream.name)
        return first

    def _may_move(
        self, attempt: Attempt, response: ProxyResponse, status: int, other_account: bool = False
    ) -> bool:
        """Return whether another upstream may be asked: for the reasons of a retry, also if the client retries
        itself.

        An exhausted quota and a long wait concern only this upstream.
        """
        task = attempt.task
        return (
            task.replayable
            and not task.request.upgrade
            and status_may_be_retried(status, task.creates_nothing)
            and (other_account or not says_no_retry(response.headers))
        )


async def first_error(
    response: ProxyResponse, coding: bytes, timers: Any
) -> tuple[ProxyResponse, str | None]:
    """Return the stream, still to be delivered, and the code of the error that it begins with, if any.

    Waits for the first event, skipping comments, for FIRST_EVENT_S.
    """
    events = FirstEvents(coding)

    def enough(data: bytes) -> bool:
        events.feed(data)
        return events.seen or events.decided

    response, _ = await peek(response, LIMIT_BYTES, enough, timers, FIRST_EVENT_S)
    if cast(PeekedBody, response.body).ended:
        events.finish()
    return response, events.error
