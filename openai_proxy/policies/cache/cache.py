"""Answer requests from the cache, and store answers that may be stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import TypeAlias

from twisted.internet.defer import CancelledError, Deferred

from ...exchange.errors import ProxyError
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...exchange.record import Exchange, HeaderPairs
from ...wire.headers import without
from ..routing.table import model_in_path
from .bodies import replay_body
from .entry import CacheEntry, make_entry
from .hits import answer_with, at_once
from .key import cache_key, chosen_headers, models_family
from .other_calls import OtherCallResponse, OtherCalls
from .participants import Role
from .recording_memory import RecordingMemory
from .request_memo import Answered, RequestMemo
from .rules import CacheControl, CacheRules, Verdict, judge, parse_cache_control
from .single_flight import SingleFlight
from .store import CacheStore

Cacheable: TypeAlias = tuple[bytes, float, bytes | None]
"""The canonical key, the time to live of the answer (seconds), and the family of a page of models."""

_MISS = (b"x-cache", b"miss")
_MEMO_BYTES = 4 * 1024 * 1024
"""The most memory for the memo of request keys."""


class NotCached(ProxyError):
    """The client accepts only a stored answer, and there is none (RFC 9111 §5.2.1.7)."""

    status, reason = 504, b"Gateway Timeout"
    type, code = "invalid_request_error", "not_cached"
    default_message = "No cached response is available, and the request allows no other."


async def _refuse() -> ProxyResponse:
    raise NotCached


def _unbounded() -> None:
    """Let recordings take any amount."""


def _nothing() -> None:
    """Do nothing: no other process knows of the call."""


def _ignore_end(had_all: bool) -> None:
    """Ignore whether another process has read the whole body."""


def _judge(response: ProxyResponse) -> Verdict:
    # A body filter works for one client, so a response with one cannot be shared.
    return Verdict.PRIVATE if response.filters else judge(response.status, response.headers)


class Cache:
    """Serves hits from `store`; misses share one call and are stored.

    Runs after the stages that change the request (the key is computed over what
    goes upstream) and before retries (a hit never retries). `origin` names the
    upstreams, so that entries of two configurations in one Redis differ.
    `served_as` returns what they make of a model name, if the configuration
    maps it: the mapping may have changed since an answer was stored. `shared`
    lets all callers of one upstream key use the same entries. `clock` gives
    monotonic seconds. `answered` notes the hits. A recording takes its memory
    from `memory`; if that is refused, the answer passes, is not stored, and nobody can
    join it any more. `others` are the calls of the daemon's other processes,
    which are shared like those of this one.
    """

    def __init__(
        self,
        store: CacheStore,
        rules: CacheRules,
        origin: bytes,
        clock: Callable[[], float],
        shared: bool = False,
        answered: Answered | None = None,
        served_as: Callable[[str], bytes] | None = None,
        memory: RecordingMemory | None = None,
        others: OtherCalls | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._origin = origin
        self._clock = clock
        self._shared = shared
        self._memo: RequestMemo[Cacheable] = RequestMemo(_MEMO_BYTES)
        self._answered = answered
        self._served_as = served_as
        self._flights = SingleFlight(
            store.entry_bytes, _judge, memory.lease if memory is not None else _unbounded
        )
        self._others = others
        if others is not None:
            others.join(self)
        self._deletions = 0
        """The number of deletions of models: a page of models from before one is not shared with later requests."""

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        """Answer from the cache, from a call that already runs, or by a call of its own."""
        exchange = request.exchange
        cacheable = self._cacheable(request)
        wishes = parse_cache_control(request.headers)
        if cacheable is None or wishes.no_store:
            exchange.cache_result = "bypass"
            if wishes.only_if_cached:
                return _refuse()
            if request.method == b"DELETE" and exchange.endpoint.startswith("models/"):
                return self._delete_model(request, forward)
            return forward(request)
        key = cacheable[0]
        if not wishes.no_cache:
            entry = self._store.peek(key)
            if entry is not None:
                now = self._now(exchange)
                if _is_welcome(entry, now, wishes):
                    if self._answered is not None:
                        self._answered.note(exchange.request_body or exchange.path)
                    return at_once(answer_with(entry, key, exchange, now))
        return self._look_up(request, forward, cacheable, wishes)

    async def _look_up(
        self, request: ProxyRequest, forward: Forward, cacheable: Cacheable, wishes: CacheControl
    ) -> ProxyResponse:
        """Look in the store, which may take a while; then call the upstream."""
        exchange = request.exchange
        key = cacheable[0]
        if not wishes.no_cache:
            entry = await self._store.get(key)
            if entry is not None:
                now = self._now(exchange)
                if _is_welcome(entry, now, wishes):
                    return answer_with(entry, key, exchange, now)
        exchange.cache_result = "miss"
        if wishes.only_if_cached:
            raise NotCached
        return await self._miss(cacheable, request, forward, wishes)

    def _cacheable(self, request: ProxyRequest) -> Cacheable | None:
        """Return the cache key and the time to live of a request that may be answered from the cache, else None.

        Both follow from the request's bytes, so they are worked out once.
        """
        body = request.body
        if body is None:
            body = b""
        elif not isinstance(body, bytes):
            if body.length != 0:
                return None
            body = b""  # announced as empty, as some clients do with GET
        if request.upgrade:
            return None
        exchange = request.exchange
        tenant = self._tenant(request)
        headers = request.headers
        memo_key = (
            body,
            request.target,
            request.azure,
            request.method,
            tenant,
            request.credential,
            *chosen_headers(headers),
        )
        cacheable = self._memo.get(memo_key, len(body))
        if cacheable is None:
            ttl_s = self._rules.ttl_s(request.method, exchange.endpoint, request.document, request.model)
            if not ttl_s:
                return None
            key = cache_key(
                tenant=tenant,
                origin=self._origin + self._served(request),
                credential=request.credential,
                method=request.method,
                target=b"/openai" + request.target if request.azure else request.target,
                headers=headers,
                body=body,
            )
            is_page_of_models = exchange.endpoint.partition("/")[0] == "models"
            cacheable = (key, ttl_s, self._models_family(request) if is_page_of_models else None)
            self._memo.remember(memo_key, len(body), cacheable)
        return cacheable

    def _tenant(self, request: ProxyRequest) -> str:
        """Return the name that separates this caller's entries; empty if all callers of one upstream key share them."""
        tenant = "" if self._shared else request.exchange.credential_id
        return f"{tenant}\n{sha256(request.caller).hexdigest()}" if request.caller else tenant

    def _served(self, request: ProxyRequest) -> bytes:
        if self._served_as is None:
            return b""
        model = request.model
        if model is None:
            model = model_in_path(request.target)
        return b"" if model is None else self._served_as(model)

    async def _delete_model(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        """Forget the caller's pages of models when the upstream has deleted a model, or may have.

        A request after that answer is answered by the upstream again.
        """
        try:
            response = await forward(request)
        except Exception:  # among them: the client left
            self._forget_models(request)
            raise
        if 300 <= response.status < 500:
            return response
        try:
            await self._forget_models(request)
        except CancelledError:
            response.body.discard()
            raise
        return response

    def _forget_models(self, request: ProxyRequest) -> Deferred[None]:
        self._deletions += 1
        return Deferred.fromCoroutine(self._store.forget(self._models_family(request)))

    def _models_family(self, request: ProxyRequest) -> bytes:
        return models_family(self._tenant(request), self._origin, request.credential)

    def _now(self, exchange: Exchange) -> float:
        """Seconds since the epoch, by the exchange's own beginning."""
        return exchange.timestamp + (self._clock() - exchange.started)

    async def _miss(
        self, cacheable: Cacheable, request: ProxyRequest, forward: Forward, wishes: CacheControl
    ) -> ProxyResponse:
        exchange = request.exchange
        key, ttl_s, family = cacheable
        deletions = self._deletions
        flight = key if family is None else b"%b%d" % (key, deletions)

        async def keep(led: ProxyRequest, response: ProxyResponse, chunks: list[bytes]) -> None:
            # The leader's client may have left before its usage was known; no other record takes its place.
            now = self._now(led.exchange)
            entry = make_entry(response.reason, response.headers, chunks, now, led.exchange.usage)
            if entry is not None and (family is None or deletions == self._deletions):
                await self._store.put(key, entry, ttl_s, family)

        async def call(request: ProxyRequest) -> ProxyResponse:
            found = await self._elsewhere(key, exchange, wishes)
            return await forward(request) if found is None else found

        # Pages of models from before a deletion must not be shared; each process counts deletions for itself.
        is_shared = self._others is not None and family is None and not wishes.no_cache
        result = await self._flights.join(
            flight,
            request,
            call if is_shared else forward,
            keep,
            partial(self._withdraw, key) if is_shared else _nothing,
            fresh=wishes.no_cache,
        )
        response = result.response
        if response is None:
            response = await forward(request)
        else:
            request.undelivered.append(response.body)
        headers = response.headers
        if result.role is Role.FOLLOWER:
            exchange.cache_result = "shared"
            if response.status == 200:
                exchange.cached = True
                exchange.cost_usd = 0.0
            headers = without(headers, b"set-cookie")
        return response.evolve(headers=_as_miss(headers))

    async def _elsewhere(
        self, key: bytes, exchange: Exchange, wishes: CacheControl
    ) -> OtherCallResponse | None:
        """Return the answer that another process is asking for now, or has stored since this one looked."""
        others = self._others
        assert others is not None
        found = await others.claim(key, self)
        if found is not None or others.is_alone:
            return found
        entry = await self._store.get(key)
        if entry is None or not _is_welcome(entry, self._now(exchange), wishes):
            return None
        body = replay_body(entry.chunks, entry.announced_bytes)
        return OtherCallResponse(200, entry.reason, entry.headers, body)

    def _withdraw(self, key: bytes) -> None:
        if self._others is not None:
            self._others.withdraw(key)

    async def read(self, name: bytes) -> ProxyResponse | None:
        """Return the answer of a running call, for another process; None if there is none."""
        return await self._flights.read(name, _ignore_end)


def _is_welcome(entry: CacheEntry, now: float, wishes: CacheControl) -> bool:
    return wishes.max_age_s is None or entry.age_s(now) < wishes.max_age_s


def _as_miss(headers: HeaderPairs) -> HeaderPairs:
    return [*without(headers, b"x-cache"), _MISS]
