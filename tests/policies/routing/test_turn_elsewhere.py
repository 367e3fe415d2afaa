"""A turn of a WebSocket belongs to the upstream that the WebSocket leads to, or is refused."""

import json
from types import SimpleNamespace

import pytest
from fakes import Body, Forward, delivered, exchange, outcome_of, response, through

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.chains import compose
from openai_proxy.policies.routing.affinity import Affinity
from openai_proxy.policies.routing.state_homes import StateHomes, StateMemory
from openai_proxy.policies.routing.table import ModelRoute, RoutingTable, Upstream
from openai_proxy.policies.routing.turn_elsewhere import RefuseElsewhere
from openai_proxy.wire.request_json import outline, read_request

EVENTS = (b"Content-Type", b"text/event-stream")
TABLE = RoutingTable(
    [Upstream("a", "http://a/v1"), Upstream("b", "http://b/v1")],
    [ModelRoute("only-b", "b"), ModelRoute("alias", None, "m")],
)


class Turns:
    """Turns of WebSockets that lead to `a` or `b`, and what is known of conversations."""

    def __init__(self):
        self.stage = RefuseElsewhere(TABLE, Affinity(TABLE, StateHomes(StateMemory(lambda: 0.0))))

    def ask(self, here, made=None, **document):
        """Return the code of the refusal, None if the turn went on; its answer makes the response `made`."""
        text = json.dumps(document).encode()
        request = ProxyRequest(
            b"POST",
            b"/responses",
            [],
            text,
            exchange(streaming=True),
            document=outline(read_request(text).document)[0],
            endpoint="responses",
            turn=SimpleNamespace(upstream=here),
        )
        body = Body()
        stages = [self.stage, self.stage.learn]
        outcome = outcome_of(through(compose(stages, Forward(response(body, EVENTS))), request))
        if isinstance(outcome, Exception):
            return outcome.code
        event = json.dumps({"type": "response.created", "response": {"id": made}}).encode()
        delivered(outcome.body)
        body.feed(b"data: " + event + b"\n\n")
        return None


@pytest.mark.parametrize(
    ("model", "here", "code"),
    [
        ("m", "a", None),
        ("alias", "b", None),
        ("only-b", "b", None),
        ("only-b", "a", "model_elsewhere"),
    ],
)
def test_a_model_of_another_upstream(model, here, code):
    """`[[models]]` says where it is."""
    assert Turns().ask(here, model=model) == code


def test_a_conversation_that_lives_elsewhere():
    """Learnt from the turn that made it, and refused at every other upstream."""
    turns = Turns()
    assert turns.ask("a", made="resp_1", model="m") is None
    assert turns.ask("a", model="m", previous_response_id="resp_1") is None
    assert turns.ask("b", model="m", previous_response_id="resp_1") == "state_elsewhere"
    assert turns.ask("b", model="m", previous_response_id="resp_unknown") is None
