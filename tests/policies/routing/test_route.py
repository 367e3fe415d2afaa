"""Several upstreams as the client of one proxy sees them."""

import json

import pytest
from fakes import outcome_of
from policies.routing.routed import (
    BAD_TLS,
    CHAT,
    IDEMPOTENT,
    LATE,
    NOT_FOUND,
    REFUSED,
    RESET,
    SDK,
    STALE,
    A,
    B,
    Kept,
    Routed,
    answer,
    error,
)
from twisted.internet.defer import CancelledError, Deferred

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.routing.table import ModelRoute, Upstream


def test_each_upstream_gets_its_own_key():
    """An upstream with a key never sees another's; one without gets what authentication chose."""
    routed = Routed()
    routed.answers["a"] = [REFUSED]
    assert routed.ask() == (200, "ab")
    first, second = routed.requests
    assert (first.headers, first.credential) == ([(b"Authorization", b"Bearer sk-a")], b"sk-a")
    assert (second.headers, second.credential) == ([(b"Authorization", b"Bearer client")], b"client")
    assert (first.route, second.route) == (A, B)
    assert routed.exchange.retry_reasons == ["failover"]


def test_an_upstream_without_a_key_gets_nobody_elses():
    """An empty key takes the credentials away: no header of them is left."""
    routed = Routed([Upstream("local", "http://local/v1", key=b"")])
    assert routed.ask(headers=[(b"X-Other", b"1")]) == (200, "local")
    assert routed.requests[0].headers == [(b"X-Other", b"1")]
    assert routed.requests[0].credential == b""


@pytest.mark.parametrize(
    ("first", "kwargs", "expected"),
    [
        (REFUSED, {}, "ab"),
        (REFUSED, {"headers": SDK}, "ab"),
        (BAD_TLS, {}, "ab"),
        (REFUSED, {"body": Kept()}, "ab"),
        (REFUSED, {"body": object()}, "a"),
        (REFUSED, {"endpoint": "batches"}, "ab"),
        (REFUSED, {"upgrade": True, "method": b"GET"}, "ab"),
        (STALE, {}, "a"),
        (RESET, {}, "a"),
        (RESET, {"headers": IDEMPOTENT}, "ab"),
        (RESET, {"method": b"GET", "endpoint": "files"}, "ab"),
        (LATE, {}, "a"),
        (LATE, {"headers": IDEMPOTENT}, "a"),
    ],
)
def test_failures_that_go_elsewhere(first, kwargs, expected):
    """Another upstream is asked if the first cannot have acted on it, or may act twice; never after a time-out."""
    routed = Routed()
    routed.answers["a"] = [first]
    shown, asked = routed.ask(**kwargs)
    assert asked == expected
    assert shown == (200 if expected == "ab" else type(first))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 501, 502, 503, 504, 520, 524, 529])
@pytest.mark.parametrize(
    ("kwargs", "hints", "moves"),
    [
        ({}, [], {"always"}),
        ({"headers": SDK}, [], {"always"}),
        ({"document": CHAT, "headers": SDK}, [], {"always"}),
        ({"headers": SDK}, [(b"retry-after", b"3600")], {"always"}),
        ({}, [(b"x-should-retry", b"false")], set()),
        ({"body": object()}, [], set()),
        ({"body": Kept(), "endpoint": "audio/transcriptions"}, [], {"always"}),
        ({"upgrade": True, "method": b"GET"}, [], set()),
        ({"method": b"GET", "endpoint": "files"}, [], {"always"}),
        ({"endpoint": "batches"}, [], {429, 503}),
        ({"endpoint": "responses", "document": {"model": "m", "background": True}}, [], {429, 503}),
        ({"endpoint": "files", "headers": IDEMPOTENT}, [], {"always"}),
    ],
)
def test_statuses_that_go_elsewhere(status, kwargs, hints, moves):
    """For every client, on the causes of a retry; a creation only if nothing was created; a handshake never."""
    routed = Routed()
    routed.answers["a"] = [answer(status, b"{}", *hints)]
    expected = (200, "ab") if moves & {"always", status} else (status, "a")
    assert expected == routed.ask(**kwargs)


@pytest.mark.parametrize("hints", [[], [(b"x-should-retry", b"false")]])
def test_a_spent_quota_is_one_accounts_affair(hints):
    """Another upstream has another account."""
    routed = Routed()
    routed.answers["a"] = [answer(429, error("insufficient_quota"), *hints)]
    assert routed.ask(headers=SDK) == (200, "ab")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, b'{"error":{"code":402,"message":"Insufficient credits"}}'),
        (402, b"Payment Required"),
        (403, error("insufficient_user_quota")),
        (403, error("INSUFFICIENT_BALANCE")),
        (400, b'{"error":{"message":"m","type":"budget_exceeded","code":"400"}}'),
        (401, b'{"type":"error","error":{"type":"CreditsError","message":"Insufficient balance"}}'),
    ],
)
def test_an_account_without_money_is_one_upstreams_affair(status, body):
    """Whatever status says so, the other upstream is asked, and the next request goes there first."""
    routed = Routed()
    routed.answers["a"] = [answer(status, body)]
    assert routed.ask(headers=SDK) == (200, "ab")
    assert routed.ask(document=CHAT) == (200, "b")
    routed.clock.advance(60.0)
    assert [routed.ask(document=CHAT)[1] for _ in range(2)] == ["a", "a"]
    alone = Routed([A])
    alone.answers["a"] = [answer(status, body)]
    assert alone.ask() == (status, "a")


def test_money_that_will_be_there_is_waited_for_as_long_as_said():
    """OpenRouter sends 402 with `Retry-After` if only the requests on their way exceed the balance."""
    routed = Routed()
    routed.answers["a"] = [answer(402, b"{}", (b"retry-after", b"7"))]
    assert routed.ask(document=CHAT) == (200, "ab")
    routed.clock.advance(6.0)
    assert routed.ask(document=CHAT) == (200, "b")
    routed.clock.advance(1.0)
    assert [routed.ask(document=CHAT)[1] for _ in range(2)] == ["a", "a"]


TOO_DEAR = (
    b'{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens,'
    b' but can only afford %d. To increase, visit https://openrouter.ai/settings/credits","code":402}}'
)


@pytest.mark.parametrize(
    ("body", "following"),
    [
        (TOO_DEAR % 4000, "a"),
        (TOO_DEAR % 0, "b"),
        (b'{"error":{"message":"Prompt tokens limit exceeded: 230799 > 91442. To increase, visit","code":402}}', "a"),
        (b'{"error":"fewer max_tokens"}', "b"),
    ],
)  # fmt: skip
def test_a_request_that_is_too_dear_for_an_account_is_no_empty_account(body, following):
    """OpenRouter refuses what may cost more than is left; the next, smaller request goes there first again."""
    routed = Routed()
    routed.answers["a"] = [answer(402, body)]
    assert routed.ask(headers=SDK) == (200, "ab")
    assert routed.ask(document=CHAT) == (200, following)


def test_a_substitute_without_money_is_none():
    """The failure that it was asked for passes, which a client may retry."""
    routed = Routed()
    routed.answers.update(a=[answer(503)], b=[answer(402)])
    assert routed.ask() == (503, "ab")


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 413, 422])
def test_an_answer_of_the_first_upstream_passes(status):
    """What it says about the request, it says for all; `model_not_found` too."""
    routed = Routed()
    routed.answers["a"] = [answer(status, NOT_FOUND)]
    assert routed.ask() == (status, "a")


def test_the_last_failure_is_the_answer():
    """If all fail each is asked once, and the last answer passes; one of theirs goes before one of ours."""
    routed = Routed()
    first = answer(503)
    routed.answers.update(a=[first], b=[answer(500)])
    assert routed.ask() == (500, "ab")
    assert first.body.discarded
    routed.answers.update(a=[REFUSED], b=[REFUSED])
    assert routed.ask() == (UpstreamUnreachable, "ab")
    first = answer(503)
    routed.answers.update(a=[first], b=[REFUSED])
    assert routed.ask() == (503, "ab")
    assert not first.body.discarded


def test_further_attempts_are_spread_and_go_over_to_nobody():
    """Each upstream is gone over to once in an exchange: a retry asks the one that failed less often, and no more."""
    routed = Routed()
    routed.answers.update(a=[answer(500) for _ in range(9)], b=[answer(500) for _ in range(9)])
    asked = [routed.ask()[1]]
    asked += [routed.ask(exchange=routed.exchange)[1] for _ in range(3)]
    assert asked == ["ab", "a", "b", "a"]
    assert routed.exchange.retry_reasons == ["failover"]


def test_one_exchange_counts_once():
    """However often one exchange is repeated, it takes no upstream from anybody."""
    routed = Routed()
    routed.answers.update(a=[answer(500) for _ in range(20)], b=[answer(500) for _ in range(20)])
    routed.ask(document=CHAT)
    for _ in range(20):
        routed.ask(document=CHAT, exchange=routed.exchange)
    routed.answers.update(a=[], b=[])
    assert routed.ask(document=CHAT) == (200, "a")


# ---- one sick model


def test_a_sick_model_goes_elsewhere_and_takes_nobody_along():
    """After some failures its requests go to the other upstream first; other models stay."""
    routed = Routed()
    routed.answers["a"] = [answer(500) for _ in range(5)]
    assert [routed.ask(document=CHAT)[1] for _ in range(7)] == ["ab"] * 5 + ["b"] * 2
    assert routed.ask(document={"model": "small"}) == (200, "a")
    assert routed.ask(endpoint="files") == (200, "a")
    routed.clock.advance(1.0)
    assert [routed.ask(document=CHAT)[1] for _ in range(2)] == ["a", "a"]


@pytest.mark.parametrize("failure", [answer(500), REFUSED, answer(429, b"{}", (b"retry-after", b"300"))])
def test_nothing_is_refused_if_there_is_nothing_else_to_ask(failure):
    """A lone upstream is asked however sick it seems, and its word passes."""
    routed = Routed([A])
    for _ in range(20):
        routed.answers["a"] = [failure]
        shown, asked = routed.ask(document=CHAT)
        assert asked == "a"
        assert shown == (type(failure) if isinstance(failure, Exception) else failure.status)
    assert routed.ask(document=CHAT) == (200, "a")


def test_a_model_that_is_sick_everywhere_is_asked_everywhere():
    """Both circuits are open: each upstream is asked once, and its own error passes."""
    routed = Routed()
    for _ in range(20):
        routed.answers.update(a=[answer(500)], b=[answer(500)])
        assert routed.ask(document=CHAT)[0] == 500
    routed.answers.update(a=[answer(500)], b=[])
    assert routed.ask(document=CHAT) == (200, "ab")


@pytest.mark.parametrize(
    "refusal", [answer(404, NOT_FOUND), answer(404), answer(401), answer(403), answer(400, NOT_FOUND)]
)
def test_a_backup_that_cannot_is_no_substitute(refusal):
    """The first upstream's answer passes, not that the backup does not know the model or the key."""
    routed = Routed()
    first = answer(500, b"first")
    routed.answers.update(a=[first], b=[refusal])
    assert routed.ask(document=CHAT) == (500, "ab")
    assert routed.result is first
    assert not first.body.discarded
    assert refusal.body.discarded or refusal.body.data is not None
    # nor is it asked in vain a moment later
    routed.answers["a"] = [answer(502)]
    assert routed.ask(document=CHAT) == (502, "a")
    assert routed.ask(document={"model": "other"}) == (200, "a")


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": "context_length_exceeded"}},
        {
            "error": {
                "code": 400,
                "type": "exceed_context_size_error",
                "message": "request (5 tokens) exceeds",
            }
        },
        {"error": {"code": 400, "message": "This model's maximum context length is 8192 tokens."}},
        {"object": "error", "code": 400, "message": "This model's maximum context length is 8192 tokens."},
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (9) exceeds the maximum number of tokens",
                }
            }
        ],
        {"error": {"code": None, "message": "This model's maximum prompt length is 8 but the request"}},
        {"error": {"code": "invalid_request_error", "message": "Your request exceeded model token limit: 8"}},
        {"error": {"message": "Range of input length should be [1, 30720]"}},
        {"error": {"code": "model_max_prompt_tokens_exceeded", "message": "m"}},
        {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"},
        {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2048"},
    ],
)
def test_a_backup_with_a_shorter_context_is_no_substitute(error):
    """A client would throw away a part of its conversation, and the first upstream takes it in a moment."""
    routed = Routed()
    refusal = answer(400, json.dumps(error).encode())
    routed.answers.update(a=[answer(503)], b=[refusal])
    assert routed.ask(document=CHAT) == (503, "ab")
    routed.answers.update(a=[answer(503)], b=[])
    assert routed.ask(document=CHAT) == (200, "ab")
    routed.answers.update(a=[refusal], b=[])
    assert routed.ask(document=CHAT) == (400, "a")


def test_a_backup_that_takes_smaller_requests_is_no_substitute():
    """Its 413 does not replace the first upstream's answer, and it is asked again the next time."""
    routed = Routed()
    routed.answers.update(a=[answer(503)], b=[answer(413)])
    assert routed.ask(document=CHAT) == (503, "ab")
    routed.answers.update(a=[answer(503)], b=[])
    assert routed.ask(document=CHAT) == (200, "ab")
    routed.answers.update(a=[answer(413)], b=[])
    assert routed.ask(document=CHAT) == (413, "a")


def test_a_backup_that_cannot_is_no_substitute_for_an_open_circuit():
    """The first upstream is asked again, once, although its circuit is open."""
    routed = Routed()
    for _ in range(5):
        routed.answers.update(a=[answer(500)], b=[])
        routed.ask(document=CHAT)
    routed.answers.update(a=[answer(500, b"again")], b=[answer(404, NOT_FOUND)])
    assert routed.ask(document=CHAT) == (500, "ba")
    routed.answers.update(a=[], b=[])
    assert routed.ask(document=CHAT) == (200, "a")


@pytest.mark.parametrize("refusal", [(404, NOT_FOUND), (404,), (401,), (400, NOT_FOUND)])
@pytest.mark.parametrize("failing", [500, 429])
def test_a_further_attempt_leaves_out_a_backup_that_cannot(failing, refusal):
    """Although it has failed less often: its 404 would pass as the answer for a model that the first one serves."""
    routed = Routed()
    routed.answers.update(a=[answer(failing) for _ in range(3)], b=[answer(*refusal) for _ in range(9)])
    asked = [routed.ask(document=CHAT)]
    asked += [routed.ask(document=CHAT, exchange=routed.exchange) for _ in range(3)]
    assert asked == [(failing, "ab"), (failing, "a"), (failing, "a"), (200, "a")]


def test_a_further_attempt_is_spread_over_those_that_can():
    """A backup that does not know the model is left out, and the other two take turns."""
    routed = Routed((A, B, Upstream("c", "https://c/v1", b"key c", priority=2)))
    for name in "ac":
        routed.answers[name] = [answer(500) for _ in range(9)]
    routed.answers["b"] = [answer(404, NOT_FOUND) for _ in range(9)]
    asked = [routed.ask(document=CHAT)[1]]
    asked += [routed.ask(document=CHAT, exchange=routed.exchange)[1] for _ in range(4)]
    assert asked == ["abc", "a", "c", "a", "c"]


def test_backups_that_all_cannot_are_asked_if_there_is_nothing_else():
    """What they said may have been true a moment ago only, and an answer of theirs is better than none."""
    routed = Routed((A, B), [ModelRoute("big", "b")])
    routed.health.unknown_model(B, "big", routed.clock.seconds())
    routed.answers["b"] = [answer(500), answer(404, NOT_FOUND)]
    assert routed.ask(document=CHAT) == (500, "b")
    assert routed.ask(document=CHAT, exchange=routed.exchange) == (404, "b")


def test_a_refused_connection_and_a_backup_that_cannot():
    """The proxy's own 502 is true, and a 404 would not be."""
    routed = Routed()
    routed.answers.update(a=[REFUSED], b=[answer(404, NOT_FOUND)])
    assert routed.ask(document=CHAT) == (UpstreamUnreachable, "ab")


def test_a_client_that_leaves_while_another_is_asked_frees_the_answer_that_is_held():
    """Nothing stays open."""
    routed = Routed()
    held = answer(500)
    routed.answers.update(a=[held])
    forward = routed.forward

    async def hang(request):
        if request.route is B:
            await Deferred()
        return await forward(request)

    routed.forward = hang
    done = routed.start(document=CHAT)
    done.cancel()
    assert isinstance(outcome_of(done), CancelledError)
    assert held.body.discarded


# ---- a dead upstream


def test_a_dead_upstream_is_left_alone_until_a_probe_reaches_it():
    """After three failures requests go elsewhere, all of them; once it listens again it serves again."""
    routed = Routed()
    routed.answers["a"] = [REFUSED] * 3
    assert [routed.ask(document={"model": f"m{n}"})[1] for n in range(5)] == ["ab", "ab", "ab", "b", "b"]
    assert set(routed.probed) == {"a"}
    routed.health.probed(A, False, routed.clock.seconds())
    routed.clock.advance(3600.0)
    assert [routed.ask()[1] for _ in range(2)] == ["b", "b"]
    routed.health.probed(A, True, routed.clock.seconds())
    assert [routed.ask()[1] for _ in range(2)] == ["a", "a"]


def test_a_dead_upstream_is_not_gone_over_to():
    """An answer of the other one passes; only with nothing to lose is it tried."""
    routed = Routed()
    routed.answers["a"] = [REFUSED] * 3
    for _ in range(3):
        routed.ask()
    routed.health.probed(A, False, routed.clock.seconds())
    routed.answers["b"] = [answer(503)]
    assert routed.ask() == (503, "b")


# ---- keys


def test_a_limited_key_cools_as_long_as_it_is_told():
    """A 429's key rests; its request goes elsewhere, for SDKs that retry by themselves too."""
    routed = Routed()
    routed.answers["a"] = [answer(429, b"{}", (b"retry-after", b"20"))]
    assert [routed.ask(headers=SDK) for _ in range(2)] == [(200, "ab"), (200, "b")]
    routed.clock.advance(20)
    assert routed.ask() == (200, "a")


def test_a_limited_key_that_is_told_nothing_cools_for_a_second():
    """The next requests go straight to the other upstream."""
    routed = Routed()
    routed.answers["a"] = [answer(429, b"{}")]
    assert [routed.ask(headers=SDK)[1] for _ in range(3)] == ["ab", "b", "b"]
    routed.clock.advance(1.0)
    assert routed.ask(headers=SDK) == (200, "a")
