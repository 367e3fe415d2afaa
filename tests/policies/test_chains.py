"""The chain of stages for each kind of request: what is left out of it would have passed the request on."""

import itertools

import pytest
from fakes import ReadyBody, exchange, response, through

from openai_proxy.cost.settle_batches import SettleBatches
from openai_proxy.cost.settle_later import SettleLater
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.messages import Kind, ProxyRequest
from openai_proxy.policies.authorize.read_websockets import ReadWebSockets
from openai_proxy.policies.authorize.refuse_unseen import RefuseUnseen
from openai_proxy.policies.batches.allow_batches import AllowBatches
from openai_proxy.policies.batches.read_batch_file import ReadBatchFile
from openai_proxy.policies.bodies.read_form import ReadForm
from openai_proxy.policies.chains import by_kind, compose
from openai_proxy.policies.routing.list_models import ListModels
from openai_proxy.policies.usage.read_usage import ReadUsage
from openai_proxy.wire.targets import API_METHODS, map_target

KEY = "alice"
SOCKETS = {"inspect": "always", "limited": frozenset([KEY]), "reads_all": True, "opens_responses": True}
STAGES = {
    "read form": ReadForm(frozenset([KEY]), frozenset([KEY])),
    "read form of nobody with rules": ReadForm(frozenset(), frozenset()),
    "read usage": ReadUsage(True, lambda: 0.0),
    "allow batches": AllowBatches({KEY: None}, None),
    "read batch file": ReadBatchFile({KEY: KEY}, None, BufferedBytes(1 << 20)),
    "list models": ListModels(["fast"], None, None),
    "refuse unseen": RefuseUnseen({KEY: "a budget"}, "a budget", frozenset()),
    "read websockets": ReadWebSockets({KEY: "a budget"}, "a budget", frozenset(), **SOCKETS),
    "settle later": SettleLater(None, None, None, BufferedBytes(1 << 20)),
    "settle batches": SettleBatches(None, None, None, None),
}
"""As strict as they come: every caller has a rule."""
TARGETS = b"""/v1/chat/completions /v1/completions /v1/responses /v1/responses/a /v1/responses/a/cancel /v1/responses/compact
    /v1/batches /v1/batches/a /v1/batches/a/cancel /v1/files /v1/files/a/content /v1/models /v1/models/a /v1/audio/speech
    /v1/audio/transcriptions /v1/images/edits /v1/videos /v1/videos/a /v1/realtime /v1/realtime/calls /v1/realtime/sessions
    /v1/live /v1/chatkit/sessions /v1/threads/runs /v1/threads/a/runs /v1/embeddings /v1/other/path /v1/Batches
    /v1/BATCHES/a /v1/uploads/a/parts /v1/deployments/m/chat/completions /openai/v1/batches /v1/openai/models""".split()
BODIES = (None, b"", b'{"model": "m", "stream": true, "background": true}')


def asked(method, target, upgrade, body):
    """Return a request as the edge makes it, after its body was read; one that streams through has none here."""
    path = map_target(target)
    record = exchange(endpoint=path.endpoint, credential_id=KEY, key=KEY, method=method.decode())
    line = (b"Content-Type", b"multipart/form-data; boundary=b")
    return ProxyRequest(
        method,
        path.target,
        [line],
        body,
        record,
        buffered=body is not None,
        endpoint=path.named,
        upgrade=upgrade,
        document=None if not body else {"model": "m", "stream": True, "background": True},
    )


def all_kinds():
    return itertools.product(API_METHODS, TARGETS, (False, True), BODIES)


@pytest.mark.parametrize("name", STAGES)
def test_what_does_not_concern_a_stage_it_passes_on_as_it_is(name):
    """The very request goes on, and the very answer comes back: nobody notices that the stage is left out."""
    stage, answer = STAGES[name], response(ReadyBody(b""))
    passed = concerned = 0
    for method, target, upgrade, body in all_kinds():
        request = asked(method, target, upgrade, body)
        kind = Kind(method, request.exchange.endpoint, request.endpoint, upgrade, request.buffered)
        if stage.concerns(kind):
            concerned += 1
            continue
        passed += 1
        before = (request.evolve(), dict(vars(request.exchange)))
        seen, ends = [], []

        async def forward(request, seen=seen):
            seen.append(request)
            return answer

        through(stage, request, forward).addBoth(ends.append)
        assert (seen, ends) == ([request], [answer]), (name, kind)
        assert vars(request.exchange) == before[1], (name, kind)
        assert all(
            getattr(request, field) == getattr(before[0], field) for field in ProxyRequest.__slots__[:-1]
        ), (name, kind)
    assert passed > 100
    assert concerned > 0


class Marking:
    """A stage that notes that it was called; concerned only by `kinds`, or by all."""

    def __init__(self, name, calls, only=None):
        self._name, self._calls = name, calls
        if only is not None:
            self.concerns = lambda kind: kind.named == only

    async def __call__(self, request, forward):
        self._calls.append(self._name)
        return await forward(request)

    async def once_more(self, request, forward):
        self._calls.append(self._name + " again")
        return await forward(request)


def test_each_request_passes_the_stages_that_its_kind_concerns():
    """In the order of the list, whatever was asked for before."""
    calls = []
    answer = response(ReadyBody(b""))
    first, models, last = Marking("first", calls), Marking("models", calls, "models"), Marking("last", calls)

    async def innermost(request):
        return answer

    forward = by_kind([first, models, first.once_more, last], innermost)
    for target, expected in [
        (b"/v1/models", ["first", "models", "first again", "last"]),
        (b"/v1/files", ["first", "first again", "last"]),
    ] * 2:
        calls.clear()
        results = []
        through(forward, asked(b"GET", target, False, None)).addBoth(results.append)
        assert (calls, results) == (expected, [answer])


def test_kinds_that_clients_make_up_do_not_fill_the_memory():
    """The chains of a bounded number of kinds are kept, and none of a very long path."""
    made = []

    class Counting:
        def concerns(self, kind):
            made.append(kind)
            return True

        async def __call__(self, request, forward):
            return await forward(request)

    async def innermost(request):
        return response(ReadyBody(b""))

    forward = by_kind([Counting()], innermost)
    for _ in range(2):
        for number in range(1000):
            through(forward, asked(b"GET", b"/v1/made-up-%d" % number, False, None))
    assert len(made) == 2000  # each was forgotten before it came again
    made.clear()
    for _ in range(2):
        through(forward, asked(b"GET", b"/v1/" + b"x" * 300, False, None))
    assert len(made) == 2


def test_a_chain_of_nothing_is_what_is_inside_it():
    async def innermost(request):
        return None

    assert compose([], innermost) is innermost
