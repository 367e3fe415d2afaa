"""The ordered stages that every exchange passes, and those that the turn of a WebSocket passes.

The only list of the policies: each entry has the reason for its position.
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
from ..policies.authorize import build as authorize
from ..policies.authorize.allow_models import AllowModels
from ..policies.bodies import build as bodies
from ..policies.cache import build as cache
from ..policies.cache.recording_memory import RecordingMemory
from ..policies.cache.request_memo import Answered
from ..policies.chains import compose
from ..policies.limits import build as limits
from ..policies.override import build as params
from ..policies.rejoin import build as rejoin
from ..policies.routing import build as routing
from ..policies.routing.list_models import Elsewhere, ListModels
from ..policies.routing.route import Route
from ..policies.routing.table import RoutingTable
from ..policies.tags import build as tags
from ..policies.tags.rules import TagValues
from ..policies.think import build as think
from ..policies.think.strip_think import StripThink
from ..policies.usage.note_errors import NoteErrors
from ..policies.usage.read_usage import ReadUsage
from ..settings import Settings
from ..settings.derived import redis_url, state_path
from .batches import batches
from .destinations import fingerprint
from .process_parts import ProcessParts


@frozen(eq=False)
class KeptStages:
    """The stages, and the parts of others, that are reused when only client keys change.

    They have state that must survive that: the health of upstreams, calls that
    several requests share, the number of retries.
    """

    innermost: Forward
    table: RoutingTable | None
    route: Route | None
    buffered: BufferedBytes
    memory: RecordingMemory
    repeats: Stage | None
    override: Stage | None
    strip_think: StripThink | None
    cache: Stage | None
    retry: Stage | None
    tag_values: TagValues


def kept_stages(
    settings: Settings,
    parts: ProcessParts,
    table: RoutingTable | None,
    route: Route | None,
    buffered: BufferedBytes,
    innermost: Forward,
) -> KeptStages:
    answered, memory = Answered(), RecordingMemory(buffered)
    return KeptStages(
        innermost=innermost,
        table=table,
        route=route,
        buffered=buffered,
        repeats=cache.repeats(settings, parts, answered),
        override=params.override(settings),
        strip_think=think.strip_think(settings, buffered),
        memory=memory,
        cache=cache.cache(settings, parts, answered, table, fingerprint(settings), memory),
        retry=routing.retry(settings, parts),
        tag_values=TagValues(),
    )


def ordered_stages(
    settings: Settings,
    parts: ProcessParts,
    needs_usage: bool,
    spending: Spending,
    kept: KeptStages,
    keyring: Keyring | None,
) -> tuple[list[Stage], TurnRules]:
    """Return the stages, outermost first, with the reason for each position, and the rules for turns of WebSockets."""
    rate_limit = limits.rate_limit(settings, parts)
    strip_think, repeats, buffered = kept.strip_think, kept.repeats, kept.buffered
    body_rules = bodies.body_rules(settings, spending.payers)
    of_batches = batches(settings, parts.stores, spending, buffered)
    counts = needs_usage or spending.needs_usage
    authenticate = callers.authenticate(settings, keyring, parts.knows_all_keys)
    tag_requests, name_end_user = tags.tag_requests(settings, kept.tag_values), tags.name_end_user(settings)
    allow_endpoints = authorize.allow_endpoints(settings)
    read_body = bodies.read_body(settings, parts, body_rules, spending.payers, buffered)
    allow_models = AllowModels(keyring) if keyring is not None and keyring.restricts_models else None
    refuse_unmeasured = authorize.refuse_unmeasured(settings)
    own_objects = authorize.own_objects(
        settings, lambda: parts.stores.object_owners(state_path(settings, False), redis_url(settings))
    )
    refuse_elsewhere = routing.refuse_elsewhere(settings, kept.table, kept.route)
    learn_state = refuse_elsewhere.learn if refuse_elsewhere is not None else None
    note_errors = NoteErrors()
    read_usage = ReadUsage(
        counts or limits.counts_model_tokens(settings),
        parts.clock,
        strip_think.reads if strip_think is not None else None,
        spending.pricing.lacks_price if spending.pricing is not None else None,
    )
    stages: list[Stage | None] = [
        # First: an unknown caller must not make the proxy read, count or call anything.
        authenticate,
        # Early, so that refused requests have their tags in the logs; before the cache, because these headers are not sent upstream.
        tag_requests,
        # Before a body is read, and before the limits, against which a refusal does not count.
        allow_endpoints,
        authorize.refuse_unseen(settings),
        # Before the stages that would count the handshake of a WebSocket whose turns count instead.
        authorize.read_websockets(settings, counts),
        # Before `100 Continue` asks for a body that would be refused.
        rate_limit.look_ahead if rate_limit is not None else None,
        # Before all stages that decide by the request only: a repeated request skips them.
        repeats if rate_limit is None else None,
        # Before all stages that look at the body; after it, the request is valid.
        read_body,
        # As soon as there is a body.
        name_end_user,
        # After `read_body`: a form streams through, and is only inspected.
        bodies.read_form(settings, body_rules, buffered),
        # Before all stages that use the models of a batch.
        of_batches.allow,
        # Before the limits, against which a refusal does not count.
        allow_models,
        refuse_unmeasured,
        # Outside the cache, which does not distinguish owners.
        own_objects,
        # Outside all stages that cost anything.
        rate_limit,
        # After the stage that counts requests, if there is one.
        repeats if rate_limit is not None else None,
        # Before the cache, whose key is computed from what the upstream would receive.
        kept.override,
        # Outside the cache, which holds raw upstream bytes, so that this setting may change.
        strip_think,
        # Outside `read_usage`, which removes content codings if a stage must read the body.
        note_errors,
        # Inside think removal, because it reads the model's output; outside the cache, whose hits have usage too.
        read_usage,
        # Outside the cache, which holds the upstream's list.
        _list_models(keyring, kept.table, kept.route, kept.innermost),
        # Outside all stages that share answers, because it cuts only one client's reading.
        spending.cut_budget,
        # Inside the stages that change an answer for its client, like the cache: each joined request has its own.
        rejoin.rejoin(settings, parts, kept.memory),
        # Outside retries: a hit never retries.
        kept.cache,
        # After the cache, whose hits cost nothing; before money is reserved.
        spending.refuse_unpriced,
        # After all stages that may refuse an upload, which it reads as it passes.
        of_batches.read_file,
        # Outside the budgets, which reserve the cost of background responses and batches.
        spending.settle_later,
        of_batches.settle,
        # After the cache, whose hits cost nothing; outside retries, of which only one answer is paid.
        spending.keep_budget,
        # Outside of routing, because it sends the same request again.
        kept.retry,
        # Innermost: every attempt may go to another upstream.
        kept.route,
    ]
    # The stages for a turn of a WebSocket, in the same order. Stages that change a request, repeat it or
    # choose its upstream are left out: a turn goes to the upstream of its connection, or nowhere.
    of_turns: list[Stage | None] = [
        authenticate,
        tag_requests,
        allow_endpoints,
        read_body,
        name_end_user,
        allow_models,
        refuse_unmeasured,
        # Before the limits, like all stages that refuse what can never be admitted.
        refuse_elsewhere,
        own_objects,
        rate_limit,
        note_errors,
        read_usage,
        spending.refuse_unpriced,
        spending.settle_later,
        spending.keep_budget,
        # Innermost, as for requests: the upstream that answered has the state.
        learn_state,
    ]
    # The stages for a turn that the server begins: it is counted and paid, and cannot be refused.
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
        models=compose(_present([authenticate, read_body, allow_models, refuse_unmeasured]), _answer_nothing),
        quota=compose(_present([authenticate, read_body, spending.keep_budget]), _answer_nothing),
        buffered=buffered,
        message_bytes=settings.websocket.message_bytes,
        session_s=settings.websocket.session_s,
    )
    return _present(stages), turns


def _present(stages: Sequence[Stage | None]) -> list[Stage]:
    return [stage for stage in stages if stage is not None]


def _send_turn(request: ProxyRequest) -> Awaitable[ProxyResponse]:
    """Send a turn of a WebSocket on its connection; the innermost forward of a turn."""
    sent: Awaitable[ProxyResponse] = request.turn.send()
    return sent


async def _answer_nothing(request: ProxyRequest) -> ProxyResponse:
    """Answer for stages that are only asked whether they would refuse."""
    return ProxyResponse(200, b"OK", [], WholeBody(b""))


def _list_models(
    keyring: Keyring | None, table: RoutingTable | None, route: Route | None, innermost: Forward
) -> ListModels | None:
    """Return the stage that changes the list of models; None if the list stays as the only upstream sends it."""
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
