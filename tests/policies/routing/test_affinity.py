"""Conversations stay at the upstream that knows them."""

import json
import re

import pytest
from policies.routing.conversations import THREE, Machine, error

from openai_proxy.exchange.errors import NoUpstreamAvailable, StateElsewhere
from openai_proxy.exchange.upstream_errors import UpstreamError, UpstreamUnreachable
from openai_proxy.policies.routing.state_homes import StateMemory
from openai_proxy.policies.routing.table import ModelRoute, RoutingTable, Upstream

ID = re.compile(rb'"id": "(resp_[abc]\w+)"')
SECRET = re.compile(rb'"encrypted_content": "([^"]+)"')
REFUSED = UpstreamUnreachable(kind="refused", sent="no", detail="[Errno 111] of a:80")


def follow_up(body, stream=False, **more):
    return {"model": "m", "previous_response_id": ID.search(body)[1].decode(), "stream": stream, **more}


def first(machine, **more):
    status, body = machine.ask({"model": "m", "input": [], **more})
    assert status == 200
    return body, machine.asked[-1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["id", "encrypted"])
def test_conversations_stay_where_they_live(stream, how):
    """200 conversations of 5 turns over 3 upstreams: no turn is asked anywhere else, but after a restart."""
    machine = Machine()
    bodies = {number: first(machine, stream=stream)[0] for number in range(200)}
    for turn in range(4):
        if turn == 2:
            machine.reload()
        if turn == 3:
            machine.restart()
        for number, body in bodies.items():
            document = follow_up(body, stream)
            if how == "encrypted":
                secret = SECRET.search(body)[1].decode()
                document = {"model": "m", "stream": stream, "input": [{"encrypted_content": secret}]}
            status, bodies[number] = machine.ask(document)
            assert status == 200
            assert len(machine.asked) == 1 or turn == 3
    assert len({ID.search(body)[1][5:6] for body in bodies.values()}) == 3


def test_what_is_searched_is_learnt():
    """After a restart the first follow-up asks around, the second one knows."""
    machine = Machine()
    body, home = first(machine)
    machine.restart()
    document = follow_up(body)
    assert machine.ask(document)[0] == 200
    assert machine.exchange.route_reason in ("search", "weight")
    assert machine.asked[-1] == home
    assert machine.ask(document)[0] == 200
    assert (machine.asked, machine.exchange.route_reason) == ([home], "state")


def test_what_nobody_knows_is_answered_by_the_first():
    """Every upstream is asked once; what the first one said passes byte for byte."""
    machine = Machine()
    machine.answers = dict.fromkeys(
        "abc", lambda: error(404, "previous_response_not_found", f"by {machine.asked[-1]}")
    )
    status, body = machine.ask({"model": "m", "previous_response_id": "resp_nobodys"})
    assert (status, sorted(machine.asked)) == (404, ["a", "b", "c"])
    assert json.loads(body)["error"]["message"] == f"by {machine.asked[0]}"


def test_other_errors_are_not_searched():
    """What is wrong with the request is wrong everywhere."""
    machine = Machine()
    machine.answers = dict.fromkeys("abc", lambda: error(400, "invalid_value", "temperature is too high"))
    assert machine.ask({"model": "m", "previous_response_id": "resp_nobodys"})[0] == 400
    assert len(machine.asked) == 1


def test_a_home_that_is_out_is_waited_for():
    """Nobody else would know the conversation: 503 from the first failure on, and no other upstream is asked."""
    machine = Machine()
    body, home = first(machine)
    machine.answers[home] = REFUSED
    seen = []
    for _ in range(6):
        failed = machine.ask(follow_up(body))
        seen.append(bool(machine.asked))
        assert set(machine.asked) <= {home}
        assert (failed.status, failed.code, failed.type) == (
            503,
            "no_upstream_available",
            "service_unavailable_error",
        )
        assert failed.message == f"The conversation lives at '{home}', which is not available."
        assert dict(failed.headers)[b"retry-after"] == b"1"
    assert (seen[0], seen[-1]) == (True, False)


def test_a_home_that_takes_no_connection_is_tried_again_as_any_upstream_is():
    """What failed for want of a connection goes again to the same upstream, if the retry stage has attempts left."""
    machine = Machine()
    body, home = first(machine)
    machine.answers[home] = REFUSED
    failed = machine.ask(follow_up(body))
    assert isinstance(failed, UpstreamError)
    assert (failed.sent, failed.kind, failed.may_heal) == ("no", "refused", True)
    assert failed.log_text == f"{failed.message} ({REFUSED.log_text})"
    assert failed.__cause__ is REFUSED


def test_a_home_that_told_to_wait_is_waited_for():
    """A key that cools is no reason to ask where the answer would be 404."""
    machine = Machine()
    body, home = first(machine)

    def limited():
        response = error(429, "rate_limit_exceeded")
        return response.evolve(headers=[*response.headers, (b"retry-after", b"30")])

    machine.answers[home] = limited
    assert machine.ask(follow_up(body))[0] == 429
    failed = machine.ask(follow_up(body))
    assert isinstance(failed, NoUpstreamAvailable)
    assert (machine.asked, dict(failed.headers)[b"retry-after"]) == ([], b"30")


def test_ids_of_two_upstreams_are_refused():
    """No upstream knows both."""
    machine = Machine()
    homes = {}
    while len(homes) < 2:
        body, home = first(machine)
        homes[home] = body
    one, two = homes.values()
    refused = machine.ask(follow_up(one, input=[{"encrypted_content": SECRET.search(two)[1].decode()}]))
    assert isinstance(refused, StateElsewhere)
    assert (refused.code, refused.param, machine.asked) == ("state_elsewhere", "encrypted_content", [])


def test_state_wins_over_the_models_upstream_if_that_may_serve_it():
    """An entry that sends the model elsewhere is passed over for one that sends it there; without one: 400."""
    machine = Machine(models=[ModelRoute("other", "a"), ModelRoute("ot*", "b", "renamed")])
    body, home = first(machine)
    while home != "b":
        body, home = first(machine)
    document = {**follow_up(body), "model": "other"}
    assert machine.ask(document)[0] == 200
    assert machine.asked == ["b"]
    machine.reload(RoutingTable(THREE, [ModelRoute("other", "a")]))
    refused = machine.ask(document)
    assert isinstance(refused, StateElsewhere)
    assert (refused.param, machine.asked) == ("previous_response_id", [])


def test_objects_are_asked_for_where_they_were_made():
    """By the id in the path: also with methods that change, and after a restart."""
    machine = Machine()
    body, home = first(machine)
    stored = {"endpoint": "responses/{id}", "target": b"/responses/" + ID.search(body)[1]}
    for method in (b"GET", b"DELETE"):
        assert machine.ask(method=method, **stored)[0] == 200
        assert machine.asked == [home]
    machine.restart()
    assert machine.ask(method=b"GET", **stored)[0] == 200
    assert machine.asked == ["a", "b", "c"][: "abc".index(home) + 1]


def test_another_key_or_url_makes_state_unknown():
    """An upstream that is another one under an old name is searched like all."""
    machine = Machine()
    body, home = first(machine)
    moved = [Upstream(each.name, each.base_url + ("/new" if each.name == home else "")) for each in THREE]
    machine.reload(RoutingTable(moved))
    machine.made[home].clear()
    assert machine.ask(follow_up(body))[0] == 400
    assert sorted(machine.asked) == ["a", "b", "c"]


def test_a_search_does_not_say_that_a_model_is_unknown():
    """An upstream without the state serves the model as before."""
    machine = Machine([Upstream("a", "http://a/v1"), Upstream("b", "http://b/v1", priority=1)])
    machine.answers = {"a": lambda: error(503, "overloaded")}
    assert machine.ask({"model": "m", "previous_response_id": "resp_unknown"})[0] == 503
    assert machine.asked == ["a", "b"]
    assert machine.ask({"model": "m", "input": []})[0] == 200
    assert machine.asked == ["a", "b"]


def test_requests_that_end_are_counted_out():
    """What is in flight is what runs."""
    machine = Machine()
    machine.start({"model": "m", "input": []})
    assert sum(machine.stage.in_flight.values()) == 1
    running = machine.exchange
    first(machine)
    machine.answers = dict.fromkeys("abc", REFUSED)
    machine.ask({"model": "m", "input": []})
    assert sum(machine.stage.in_flight.values()) == 1
    running.end("complete", 1.0)
    assert set(machine.stage.in_flight.values()) == {0}


def test_the_longest_unused_is_forgotten_first():
    """The memory is bounded by entries and by time."""
    now = [0.0]
    memory = StateMemory(lambda: now[0], entries=3, ttl_s=10.0)
    memory.keep([1, 2, 3], 7)
    assert memory.find([1]) == {1: 7}
    memory.keep([4], 8)
    assert memory.find([1, 2, 3, 4]) == {1: 7, 3: 7, 4: 8}
    now[0] = 11.0
    assert memory.find([1, 2, 3, 4]) == {}
    assert len(memory) == 0
