"""The ordered stages that every exchange passes, and those that the turn of a WebSocket passes.

The only list of the policies: each entry has the reason for its place.
Imported by `exchanger` only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from attrs import frozen

from ..cost.build import Spending
from ..downstream.contract import TurnRules
from ..exchange.bodies import WholeBody
from ..exchange.buffered_bytes import BufferedBytes
from ..exchange.messages import Forward, ProxyRequest, ProxyResponse, Stage
from ..policies.authenticate import build as callers
from ..policies.authenticate.keyring import Keyring
from ..policies.bodies import build as bodies
from ..policies.cache import build as cache
from ..policies.cache.known_requests import Answered
from ..policies.cache.room import Room
from ..policies.fences import build as fences
from ..policies.fences.allow_models import AllowModels
from ..policies.limits import build as limits
from ..policies.override import build as params
from ..policies.rejoin import build as rejoin
from ..policies.routing import build as routing
from ..policies.routing.list_models import Elsewhere, ListModels
from ..policies.routing.route import Route
from ..policies.routing.table import RoutingTable
from ..policies.tags import build as tags
from ..policies.tags.rules import KnownValues
from ..policies.think import build as think
from ..policies.think.strip_think import StripThink
from ..policies.usage.note_errors import NoteErrors
from ..policies.usage.read_usage import ReadUsage
from ..settings import Settings
from ..settings.derived import redis_url, state_path
from .batches import batches
from .chains import compose
from .destinations import fingerprint
from .surroundings import Surroundings


@frozen(eq=False)
class KeptStages:
    """Those stages, and what the others are made from, that stay as they are when only client keys change.

    They remember what must not be forgotten for that: the state of
    upstreams, calls that several requests share, how much was retried.
    """

    innermost: Forward
    table: RoutingTable | None
    route: Route | None
    buffered: BufferedBytes
    room: Room
    repeats: Stage | None
    override: Stage | None
    strip_think: StripThink | None
    cache: Stage | None
    retry: Stage | None
    tag_values: KnownValues


def kept_stages(
    settings: Settings,
    around: Surroundings,
    table: RoutingTable | None,
    route: Route | None,
    buffered: BufferedBytes,
    innermost: Forward,
) -> KeptStages:
    answered, room = Answered(), Room(buffered)
    return KeptStages(
        innermost=innermost,
        table=table,
        route=route,
        buffered=buffered,
        repeats=cache.repeats(settings, around, answered),
        override=params.override(settings),
        strip_think=think.strip_think(settings, buffered),
        room=room,
        cache=cache.cache(settings, around, answered, table, fingerprint(settings), room),
        retry=routing.retry(settings, around),
        tag_values=KnownValues(),
    )


def ordered_stages(
    settings: Settings,
    around: Surroundings,
    needs_usage: bool,
    spending: Spending,
    kept: KeptStages,
    keyring: Keyring | None,
) -> tuple[list[Stage], TurnRules]:
    """Return the onion, outermost first, with the reason for each place; and what of it judges turns of WebSockets."""
    rate_limit = limits.rate_limit(settings, around)
    strip_think, repeats, buffered = kept.strip_think, kept.repeats, kept.buffered
    body_rules = bodies.body_rules(settings, spending.payers)
    of_batches = batches(settings, around.stores, spending, buffered)
    counts = needs_usage or spending.needs_usage
    authenticate = callers.authenticate(settings, keyring, around.knows_all_keys)
    tag_requests, name_end_user = tags.tag_requests(settings, kept.tag_values), tags.name_end_user(settings)
    allow_endpoints = fences.allow_endpoints(settings)
    read_body = bodies.read_body(settings, around, body_rules, spending.payers, buffered)
    allow_models = AllowModels(keyring) if keyring is not None and keyring.restricts_models else None
    refuse_unmeasured = fences.refuse_unmeasured(settings)
    own_objects = fences.own_objects(
        settings, lambda: around.stores.object_owners(state_path(settings, False), redis_url(settings))
    )
    refuse_elsewhere = routing.refuse_elsewhere(settings, kept.table, kept.route)
    learn_state = refuse_elsewhere.learn if refuse_elsewhere is not None else None
    note_errors = NoteErrors()
    read_usage = ReadUsage(
        counts or limits.counts_model_tokens(settings),
        around.clock,
        strip_think.reads if strip_think is not None else None,
        spending.pricing.is_priced if spending.pricing is not None else None,
    )
    stages: list[Stage | None] = [
        # First: nobody unknown makes us read, count or call anything.
        authenticate,
        # At once, so that what is refused has its tags in the logs; before the cache, for no upstream sees these headers.
        tag_requests,
        # Before a body is read, and before the limits: a refusal counts against none.
        allow_endpoints,
        fences.refuse_unseen(settings),
        # Before what goes by the handshake of a WebSocket whose turns count instead.
        fences.read_websockets(settings, counts),
        # Before a body is asked for with 100 Continue that would be refused.
        rate_limit.look_ahead if rate_limit is not None else None,
        # In front of all that decides by the request alone, which a repeated one is spared.
        repeats if rate_limit is None else None,
        # Before everything that looks at the body; behind it a request is known to be valid.
        read_body,
        # As soon as there is a body.
        name_end_user,
        # Behind it: a form streams through, and is only looked at.
        bodies.read_form(settings, body_rules, buffered),
        # Before all that goes by the models of a batch.
        of_batches.allow,
        # Before the limits: a refusal counts against none.
        allow_models,
        refuse_unmeasured,
        # Outside the cache, which knows nobody; what it gives was somebody's first.
        own_objects,
        # Outside all that costs anything.
        rate_limit,
        # Behind what counts requests, if something does.
        repeats if rate_limit is not None else None,
        # Before the cache: its key is what the upstream would see.
        kept.override,
        # Outside the cache, which holds raw upstream bytes, so that this setting may change.
        strip_think,
        # Outside what reads usage, which takes content codings off if somebody must read.
        note_errors,
        # Inside think removal, for it reads what the model wrote; outside the cache, whose hits report too.
        read_usage,
        # Outside the cache, which holds what the upstream lists.
        _list_models(keyring, kept.table, kept.route, kept.innermost),
        # Outside all that shares answers: it ends what one client reads.
        spending.cut_budget,
        # Inside what changes an answer for its client, as the cache: those who join have stages of their own.
        rejoin.rejoin(settings, around, kept.room),
        # Outside retries: a hit never retries.
        kept.cache,
        # Behind the cache, whose hits cost nothing; before anything is set aside.
        spending.refuse_unpriced,
        # Behind all that may refuse an upload: it reads along.
        of_batches.read_file,
        # Outside the budgets, which set aside what background responses and batches will cost.
        spending.settle_later,
        of_batches.settle,
        # Behind the cache, whose hits cost nothing; outside retries, of which one answer is paid.
        spending.keep_budget,
        # The same request, once more.
        kept.retry,
        # Innermost: every attempt may go elsewhere.
        kept.route,
    ]
    # The same for a turn of a WebSocket, in the same order: what is left out changes a request, repeats
    # it or chooses where it goes. It may go where its connection leads, or nowhere.
    of_turns: list[Stage | None] = [
        authenticate,
        tag_requests,
        allow_endpoints,
        read_body,
        name_end_user,
        allow_models,
        refuse_unmeasured,
        # Before the limits, as all that refuses what can never be admitted.
        refuse_elsewhere,
        own_objects,
        rate_limit,
        note_errors,
        read_usage,
        spending.refuse_unpriced,
        spending.settle_later,
        spending.keep_budget,
        # Innermost, as for requests: where it was answered is where its state lives.
        learn_state,
    ]
    # Of one that the server begins: it is counted and paid, and runs whatever is said of it.
    begun_above: list[Stage | None] = [
        authenticate,
        tag_requests,
        read_body,
        rate_limit.count if rate_limit is not None else None,
        note_errors,
        read_usage,
        spending.keep_budget,
        learn_state,
    ]
    turns = TurnRules(
        forward=compose(_present(of_turns), _send_turn),
        begun_above=compose(_present(begun_above), _send_turn),
        models=compose(_present([authenticate, read_body, allow_models]), _answer_nothing),
        quota=compose(_present([authenticate, read_body, spending.keep_budget]), _answer_nothing),
        buffered=buffered,
        message_bytes=settings.websocket.message_bytes,
        session_s=settings.websocket.session_s,
    )
    return _present(stages), turns


def _present(stages: Sequence[Stage | None]) -> list[Stage]:
    return [stage for stage in stages if stage is not None]


def _send_turn(request: ProxyRequest) -> Awaitable[ProxyResponse]:
    """Send a turn of a WebSocket on its connection: what is behind the stages of a turn."""
    sent: Awaitable[ProxyResponse] = request.turn.send()
    return sent


async def _answer_nothing(request: ProxyRequest) -> ProxyResponse:
    """Stand behind stages that are only asked whether they would refuse."""
    return ProxyResponse(200, b"OK", [], WholeBody(b""))


def _list_models(
    keyring: Keyring | None, table: RoutingTable | None, route: Route | None, innermost: Forward
) -> ListModels | None:
    """Return the stage that changes the list of models; None if it stays as the one upstream gives it."""
    aliases = table.aliases if table is not None else ()
    restricts = keyring is not None and keyring.restricts_models
    elsewhere: Elsewhere | None = None
    if route is not None and table is not None and len(table.upstreams) > 1:
        ask = route.ask_elsewhere

        def elsewhere(request: ProxyRequest) -> Awaitable[list[bytes]]:
            return ask(request, innermost)

    if not aliases and not restricts and elsewhere is None:
        return None
    return ListModels(aliases, keyring, elsewhere)
