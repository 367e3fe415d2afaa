"""From settings to the parts that handle exchanges."""

import gc
import weakref

import pytest
from fakes import ReadyBody, exchange, response, results_of, through
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from openai_proxy.daemon.exchanger import build_exchanger
from openai_proxy.daemon.process_parts import ProcessParts
from openai_proxy.daemon.stores import Stores
from openai_proxy.exchange.access_errors import InvalidKey, MissingCredentials
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.authenticate.build import authenticate, make_keyring
from openai_proxy.policies.authenticate.credentials import CredentialSwap
from openai_proxy.policies.chains import compose
from openai_proxy.policies.limits.build import rate_limit
from openai_proxy.settings import SettingsError, load_settings


def process_parts():
    reactor = MemoryReactorClock()
    return ProcessParts(reactor, reactor.seconds, Stores(reactor, reactor.seconds))


def build(tmp_path, parts=None, **environ):
    return build_exchanger(load_settings({}, environ, tmp_path), parts or process_parts(), False)


def outcome_of(forward, *headers):
    """Return the exception that the stages raise, or None if the request went on to the upstream."""
    request = ProxyRequest(b"GET", b"/models", list(headers), None, exchange())
    running = through(forward, request)
    ends = results_of(running)
    if not ends:
        running.cancel()
        return None
    return type(ends[0])


def test_stages_are_wrapped_first_outermost():
    """The list reads as the request goes; the response comes back the other way."""
    order = []

    def stage(name):
        async def run(request, forward):
            order.append(name)
            answer = await forward(request)
            order.append(f"{name} back")
            return answer

        return run

    async def innermost(request):
        order.append("upstream")
        return response(ReadyBody(b""))

    Deferred.fromCoroutine(compose([stage("a"), stage("b")], innermost)(None))
    assert order == ["a", "b", "upstream", "b back", "a back"]


@pytest.mark.parametrize(
    ("environ", "mode", "without_key", "with_key"),
    [
        ({}, "pass-through", MissingCredentials, None),
        ({"OPENAI_API_KEY": "sk-up"}, "inject", None, None),
        ({"OPENAI_API_KEY": "sk-up", "CLIENT_API_KEYS": "other"}, "tenants", MissingCredentials, InvalidKey),
        ({"OPENAI_API_KEY": "sk-up", "CLIENT_API_KEYS": "mine"}, "tenants", MissingCredentials, None),
    ],
)
def test_mode_follows_from_the_keys(tmp_path, environ, mode, without_key, with_key):
    """Who may call is decided by what is configured, before anything else happens."""
    exchanger = build(tmp_path, **environ)
    assert exchanger.mode == mode
    assert outcome_of(exchanger.forward) is without_key
    assert outcome_of(exchanger.forward, (b"Authorization", b"Bearer mine")) is with_key


def test_limits_reach_the_downstream_edge(tmp_path):
    """What the settings say is what channels are made with."""
    limits = build(tmp_path, LIMITS__TARGET_BYTES="99", LIMITS__HEADER_TIMEOUT_S="7").limits
    assert (limits.target_bytes, limits.header_timeout_s) == (99, 7.0)


@pytest.mark.parametrize("params", ["model", "model=a,temperature=hot"])
def test_parameters_that_can_not_work_stop_the_start(tmp_path, params):
    """The error names the setting."""
    with pytest.raises(SettingsError, match="LLM_PARAMS"):
        build(tmp_path, LLM_PARAMS=params)


def test_memory_of_a_cache_goes_with_the_last_configuration_that_uses_it(tmp_path):
    """Reloads that change its size do not add up; one that keeps it keeps what is cached."""
    parts = process_parts()

    def cache(size):
        return build(tmp_path, parts, CACHE__URL="memory:", CACHE__MAX_BYTES=size)

    gc.disable()  # at work, what was built at the start is never collected
    try:
        first = cache("1000")
        memory = weakref.ref(parts.stores.cache_store("memory:", 1000))
        second = cache("1000")
        del first
        assert memory() is parts.stores.cache_store("memory:", 1000)
        third = cache("2000")
        del second
        assert memory() is None
    finally:
        gc.enable()
    assert third.settings.cache.max_bytes == 2000


def test_what_is_built_shows_no_secret(tmp_path):
    """Tracebacks and debuggers show what objects say of themselves."""
    secrets = {
        "OPENAI_API_KEY": "canary-1",
        "CLIENT_API_KEYS": "canary-2",
        "CACHE__URL": "redis://:canary-3@127.0.0.1/0",
        "ADMIN__TOKEN": "canary-4",
    }
    assert "canary" not in repr(build(tmp_path, **secrets))


def test_a_websockets_key_is_swapped_in_its_place_where_each_upstream_has_its_own(tmp_path):
    """A tenant's subprotocol keeps its item, for the key of the upstream that the routing chooses."""
    (tmp_path / "proxy.toml").write_text(
        "[[upstreams]]\nname='a'\nbase_url='http://a/v1'\napi_key='sk-a'\n[[keys]]\nname='t'\nkey='sk-t'\n"
    )
    settings = load_settings({}, {"OPENAI_PROXY_CONFIG": "proxy.toml"}, tmp_path)
    keyring = make_keyring(settings)
    offered = (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key.sk-t")
    request = ProxyRequest(b"GET", b"/realtime", [offered], None, exchange())
    seen = []

    async def forward(forwarded):
        seen.extend(CredentialSwap(b"authorization", b"sk-a", remove_empty=True).on(forwarded.headers))
        return response(ReadyBody(b""))

    Deferred.fromCoroutine(authenticate(settings, keyring)(request, forward))
    assert seen == [(b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key.sk-a")]


def test_limits_of_a_key_stand_over_those_of_everybody(tmp_path):
    """What a key says nothing about is as for everybody; `none` exempts it."""
    (tmp_path / "c.toml").write_text(
        "rate_limit = { requests_per_minute = 3, concurrent_requests = 9 }\n"
        "keys = [\n"
        '  { name = "more", key = "sk-more", limits = { requests_per_minute = 5 } },\n'
        '  { name = "free", key = "sk-free", limits = { requests_per_minute = "none" } },\n'
        '  { name = "same", key = "sk-same" },\n'
        "]\n"
    )
    stage = rate_limit(
        load_settings({"config": "c.toml"}, {"OPENAI_API_KEY": "sk-up"}, tmp_path), process_parts()
    )

    async def upstream(request):
        return response(ReadyBody(b""))

    def passed(name):
        ends = []
        for _ in range(20):
            running = exchange(credential_id=name)
            request = ProxyRequest(b"GET", b"/models", [], None, running)
            through(stage, request, upstream).addBoth(ends.append)
            running.end(Outcome.COMPLETE, 0.0)
        assert len(ends) == 20
        return sum(not isinstance(end, Failure) for end in ends)

    assert {name: passed(name) for name in ("more", "free", "same", "nobody")} == {
        "more": 5,
        "free": 20,
        "same": 3,
        "nobody": 3,
    }
