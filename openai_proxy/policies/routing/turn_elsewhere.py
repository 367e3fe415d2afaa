"""Keep the turns of a WebSocket at the upstream of its connection.

The upstream was chosen when the WebSocket was opened. A turn whose model
another upstream serves, or whose conversation is at another one, is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ...exchange.errors import ModelElsewhere, StateElsewhere
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .affinity import Affinity
from .references import makes_state, references_of
from .table import RoutingTable


class RefuseElsewhere:
    """Raise ModelElsewhere or StateElsewhere for turns that belong elsewhere.

    `affinity` finds the upstreams of conversations. `learn` is a separate stage
    after all that may refuse, and remembers new conversations. None if
    conversations are not followed.
    """

    def __init__(self, table: RoutingTable, affinity: Affinity | None = None) -> None:
        self._table = table
        self._affinity = affinity
        self._upstreams = {upstream.name: upstream for upstream in table.upstreams}

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        here = request.turn.upstream
        model = request.model
        if model is not None and not self._table.find_at(model, here)[0]:
            raise ModelElsewhere(
                f"openai-proxy has this model at another upstream than {here!r}, to which this WebSocket leads:"
                " open another one for it.",
                param="model",
            )
        if self._affinity is None:
            return forward(request)
        return self._by_state(request, forward, self._affinity, here)

    async def _by_state(
        self, request: ProxyRequest, forward: Forward, affinity: Affinity, here: str | None
    ) -> ProxyResponse:
        references = references_of(request)
        located = await affinity.locate(references, request.credential) if references else None
        if located is not None and located.upstream.name != here:
            raise StateElsewhere(
                f"What `{located.param}` refers to lives at {located.upstream.name!r}, and this WebSocket leads to"
                f" {here!r}: open another one for it.",
                param=located.param,
            )
        return await forward(request)

    async def learn(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        """Remember the state that the answer has created at this upstream."""
        response = await forward(request)
        upstream = self._upstreams.get(request.turn.upstream)
        if self._affinity is None or upstream is None or response.status >= 300 or not makes_state(request):
            return response
        return self._affinity.watch(request, response, upstream)
