"""Upstreams that know only what they made themselves, and conversations over them."""

import json
from random import Random

import fakes
from fakes import ReadyBody, delivered, outcome_of
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.routing.affinity import Affinity
from openai_proxy.policies.routing.health import UpstreamHealth
from openai_proxy.policies.routing.route import Route
from openai_proxy.policies.routing.state_homes import StateHomes, StateMemory
from openai_proxy.policies.routing.table import RoutingTable, Upstream
from openai_proxy.wire.request_json import outline, read_request

THREE = tuple(Upstream(name, f"http://{name}/v1") for name in "abc")
JSON = (b"content-type", b"application/json")
STREAM = (b"content-type", b"text/event-stream")


def error(status, code, message="m"):
    body = json.dumps({"error": {"code": code, "message": message, "type": "invalid_request_error"}})
    return ProxyResponse(status, b"", [JSON], ReadyBody(body.encode(), sized=False))


class Machine:
    """Three upstreams and the stage that uses them; `restart` forgets what was known."""

    def __init__(self, upstreams=THREE, models=(), shared=(), seed=1, **options):
        self.clock = Clock()
        self.table = RoutingTable(upstreams, models)
        self.random = Random(seed)
        self.shared, self.options = shared, options
        self.made = {each.name: set() for each in upstreams}
        self.asked = []
        self.wrong = 0
        self.answers = {}
        self.restart()

    def restart(self):
        self.memory = StateMemory(self.clock.seconds)
        self.reload()

    def reload(self, table=None):
        self.table = table or self.table
        self.health = UpstreamHealth(self.table.upstreams)
        self.stage = Route(
            self.table,
            self.health,
            probe=lambda upstream: None,
            clock=self.clock.seconds,
            wall_clock=self.clock.seconds,
            timers=self.clock,
            draw=self.random.random,
            affinity=Affinity(self.table, StateHomes(self.memory, self.shared)),
            **self.options,
        )

    async def forward(self, request):
        name = request.route.name
        self.asked.append(name)
        request.exchange.attempts += 1
        if name in self.answers:
            step = self.answers[name]
            if isinstance(step, Exception):
                raise step
            return step()
        document = json.loads(request.body) if request.body else {}
        used = [document.get("previous_response_id")] if document.get("previous_response_id") else []
        used += [
            each["encrypted_content"] for each in document.get("input", []) if "encrypted_content" in each
        ]
        if "{id}" in request.endpoint:
            used.append(request.target.split(b"/")[2].decode())
        if not self.made[name].issuperset(used):
            return (
                error(404, None, f"No such thing: {used}")
                if "{id}" in request.endpoint
                else error(400, "previous_response_not_found")
            )
        return self.answer(name, bool(document.get("stream")))

    def answer(self, name, stream):
        made = f"resp_{name}{self.random.getrandbits(64):016x}"
        secret = f"gAAAA{name}{self.random.getrandbits(64):016x}=="
        self.made[name] |= {made, secret}
        item = {"type": "reasoning", "id": "rs_" + made, "encrypted_content": secret}
        whole = {"id": made, "object": "response", "output": [item], "metadata": {"id": "resp_echoed"}}
        if not stream:
            text = json.dumps(whole).encode()
            return ProxyResponse(200, b"OK", [JSON], ReadyBody(text[:40], text[40:], sized=False))
        events = [
            {"type": "response.created", "response": {**whole, "output": []}},
            *({"type": "response.output_text.delta", "delta": "response.output_item.done"} for _ in range(3)),
            {"type": "response.output_item.done", "item": item},
            {"type": "response.completed", "response": whole},
        ]
        data = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)
        return ProxyResponse(
            200,
            b"OK",
            [STREAM],
            ReadyBody(*(data[at : at + 50] for at in range(0, len(data), 50)), sized=False),
        )

    def start(self, document=None, method=b"POST", target=b"/responses", endpoint="responses", **more):
        stream = bool((document or {}).get("stream"))
        self.exchange = fakes.exchange(endpoint=endpoint, streaming=stream)
        body = json.dumps(document).encode() if document is not None else None
        kept = None if body is None else outline(read_request(body).document)[0]
        request = ProxyRequest(
            method,
            target,
            [],
            body,
            self.exchange,
            document=kept,
            endpoint=endpoint,
            credential=b"sk",
            **more,
        )
        return Deferred.fromCoroutine(self.stage(request, self.forward))

    def ask(self, document=None, **options):
        """Return status and body of the answer; the error if there is none."""
        self.asked.clear()
        result = outcome_of(self.start(document, **options))
        if isinstance(result, Exception):
            self.exchange.end(Outcome.UPSTREAM_ERROR, 0.0)
            return result
        reader = delivered(result.body)
        self.exchange.end(Outcome.COMPLETE, 0.0)
        return result.status, reader.data
