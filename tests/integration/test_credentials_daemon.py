"""Whose credential reaches which upstream, who pays, and what else goes with a request."""

import contextlib
import json

import pytest
from world.client import ask
from world.daemon import configured
from world.requests import post
from world.scripts import answer, failure
from world.upstream import Upstream
from world.waiting import eventually
from world.world import serving

CLIENT = "sk-client-0123456789"
DEFAULT = "sk-default-0123456789"
OWN = "sk-own-0123456789"
TENANT = f'[[keys]]\nname = "alice"\nkey = "{CLIENT}"\n'
MODES = {
    "pass-through": ("", {}),
    "inject": ("", {"OPENAI_API_KEY": DEFAULT}),
    "tenants": (TENANT, {"OPENAI_API_KEY": DEFAULT}),
    "own key": (TENANT + f'upstream_key = "{OWN}"\n', {"OPENAI_API_KEY": DEFAULT}),
}
UPSTREAMS = """
[[upstreams]]
name = "main"
base_url = "{0}"
[[upstreams]]
name = "spare"
base_url = "{1}"
priority = 1
{2}
[[models]]
match = "fast"
upstream = "spare"
"""
EVERYWHERE = (
    f"api-key: {CLIENT}",
    "x-api-key: sk-other-0123456789",
    "x-goog-api-key: sk-other-0123456789",
    "Ocp-Apim-Subscription-Key: sk-other-0123456789",
    f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{CLIENT}",
)


@pytest.fixture
def spare():
    upstream = Upstream()
    upstream.script = answer()
    yield upstream
    upstream.close()


@pytest.fixture
def two(start, tmp_path, spare):
    """Start a daemon before two origins: `two(mode, more)`; `more` is TOML of the second one."""

    def started(mode, more="", env=None, **options):
        toml, environ = MODES[mode]
        first = Upstream()
        first.script = answer()
        environ = {"RETRY__MAX_RETRIES": "1", "OBSERVERS": "none", **environ, **(env or {})}
        text = UPSTREAMS.format(first.url, spare.url, more) + toml
        return start(upstream=first, env=environ, **configured(tmp_path, text), **options)

    return started


@pytest.fixture(scope="module")
def _worlds(tmp_path_factory):
    """Give the world of a mode and the upstream beside it, the same for all who ask for it."""
    worlds = {}
    with contextlib.ExitStack() as stack:

        def started(mode):
            if mode not in worlds:
                toml, environ = MODES[mode]
                main, spare, directory = Upstream(), Upstream(), tmp_path_factory.mktemp("mode")
                stack.callback(spare.close)
                env = {"RETRY__MAX_RETRIES": "1", "OBSERVERS": "none", **environ}
                options = configured(directory, UPSTREAMS.format(main.url, spare.url, "") + toml)
                worlds[mode] = (
                    stack.enter_context(serving(directory, upstream=main, env=env, **options)),
                    spare,
                )
            return worlds[mode]

        yield started


@pytest.fixture(params=MODES)
def shared(request, _worlds):
    """Share a daemon before two origins, in each mode; both answer, and have not been asked."""
    world, spare = _worlds(request.param)
    world.upstream.begin(answer())
    spare.begin(answer())
    return world, spare


def secrets_in(call):
    return [line for line in call.head.split(b"\r\n") if b"sk-" in line]


@pytest.mark.parametrize("how", ["mapped", "fail-over"])
def test_no_key_leaves_its_origin(shared, how):
    """Nothing that any header of a client or of the configuration holds reaches an upstream of another origin."""
    world, spare = shared
    if how == "fail-over":
        world.upstream.script = failure(b"503 Busy")
    model = "fast" if how == "mapped" else "gpt-4o-mini"
    got = ask(world.port, post(CLIENT, {"model": model, "messages": []}, headers=EVERYWHERE))
    assert got.status == 200
    (call,) = spare.calls
    assert secrets_in(call) == []
    assert call.header(b"authorization") is None


@pytest.mark.parametrize("mode", ["inject", "tenants", "own key"])
def test_inherit_sends_the_default_key(two, spare, mode):
    """Written out, the default key goes to another origin; a tenant's own never does."""
    world = two(mode, 'api_key = "inherit"')
    assert ask(world.port, post(CLIENT, {"model": "fast", "messages": []})).status == 200
    assert secrets_in(spare.calls[0]) == [f"Authorization: Bearer {DEFAULT}".encode()]


@pytest.mark.parametrize("mode", MODES)
def test_a_websocket_takes_no_key_along(two, spare, mode):
    """A handshake that is routed elsewhere has no key in its subprotocols either."""
    world = two(mode)
    world.upstream.close()
    handshake = (
        f"GET /v1/realtime?model=fast HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\nAuthorization: Bearer {CLIENT}\r\n"
        + "".join(f"{line}\r\n" for line in EVERYWHERE)
        + "\r\n"
    )
    ask(world.port, handshake.encode())
    assert eventually(lambda: spare.calls)
    assert secrets_in(spare.calls[0]) == []
    assert spare.calls[0].header(b"sec-websocket-protocol") == b"realtime"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_start_says_what_goes_without_a_key(two, workers):
    """Once, whatever the number of workers; without a word of any key."""
    world = two("inject", env={"WORKERS": workers})
    text = world.daemon.log
    assert text.count("the upstream spare gets its requests without an API key") == 1
    assert "'fast'" in text
    assert "sk-" not in text


def test_a_random_credential_opens_no_account(start):
    """The limit holds for the credential that the upstream will use, with or without another beside it."""
    world = start(env={"RATE_LIMIT__REQUESTS_PER_MINUTE": "3", "OBSERVERS": "none"})
    world.upstream.script = answer()
    names = ["x-api-key", "api-key", "x-goog-api-key", "Proxy-Authorization", "x-api-key", "api-key"]
    got = [
        ask(world.port, post(CLIENT, headers=[f"{name}: random-{n}"])).status for n, name in enumerate(names)
    ]
    assert got == [200] * 3 + [429] * 3
    assert ask(world.port, post("sk-somebody-else")).status == 200
    two = ask(world.port, post(CLIENT, headers=["Authorization: Bearer another"]))
    assert (two.status, json.loads(two.body)["error"]["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("mode", MODES)
def test_distinct_callers_share_no_answer(start, tmp_path, mode):
    """In every mode, and also if the header itself never goes upstream."""
    toml, environ = MODES[mode]
    names = ["x-goog-api-key", "X-Forwarded-User"]
    toml = f'[auth]\ncaller_headers = {json.dumps(names)}\n[cache]\nurl = "memory:"\n' + toml
    world = start(env={"OBSERVERS": "none", **environ}, **configured(tmp_path, toml))
    for header in names:
        world.upstream.begin(answer())
        asked = {"model": "text-embedding-3-small", "input": header}
        for _ in range(3):
            for who in ("first", "second", None):
                headers = [f"{header}: {who}"] if who else []
                assert ask(world.port, post(CLIENT, asked, "/v1/embeddings", headers)).status == 200
        assert len(world.upstream.calls) == 3


def test_a_local_server_needs_no_key(start, tmp_path):
    """The 401 before plain http says how; with the setting requests pass without, and share one limit."""
    bare = b"GET /v1/models HTTP/1.1\r\nHost: proxy\r\n\r\n"
    strict = start(env={"OBSERVERS": "none"})
    got = ask(strict.port, bare)
    assert got.status == 401
    assert "auth.required" in json.loads(got.body)["error"]["message"]
    env = {"AUTH__REQUIRED": "auto", "RATE_LIMIT__REQUESTS_PER_MINUTE": "2", "OBSERVERS": "none"}
    world = start(env=env)
    world.upstream.script = answer()
    assert [ask(world.port, bare).status for _ in range(3)] == [200, 200, 429]
    assert world.upstream.calls[0].header(b"authorization") is None


def test_lines_of_an_upstream(start, tmp_path, spare):
    """Static lines of `upstream` are for its origin; others have their own, and secrets may stand in files."""
    (tmp_path / "secret").write_text("s3cret\n")
    first = Upstream()
    first.script = answer()
    toml = (
        f'[upstream]\nbase_url = "{first.url}"\nvia = ""\ndrop_headers = ["cf-*", "cookie"]\n'
        'headers = {OpenAI-Project = "p1", X-Gate_FILE = "secret"}\nquery = {api-version = "1"}\n'
        + UPSTREAMS.format(first.url, spare.url, 'headers = {X-Own = "o"}\nvia = "me"\ndrop_headers = []')
    )
    options = configured(tmp_path, toml)
    world = start(upstream=first, env={"OBSERVERS": "none"}, directory=tmp_path, **options)
    sent = ["CF-Ray: 1", "Cookie: a=b", "openai-project: p2", "Via: 1.1 front"]
    for model in ("gpt-4o-mini", "fast"):
        path = "/v1/chat/completions?api-version=9&x=1"
        assert ask(world.port, post(CLIENT, {"model": model, "messages": []}, path, sent)).status == 200
    (mine,), (others,) = first.calls, spare.calls
    assert mine.target.endswith(b"?x=1&api-version=1")
    assert [mine.header(name) for name in (b"cf-ray", b"cookie", b"openai-project", b"x-gate", b"via")] == [
        None, None, b"p1", b"s3cret", b"1.1 front",
    ]  # fmt: skip
    assert others.target.endswith(b"?api-version=9&x=1")
    names = (b"cf-ray", b"cookie", b"openai-project", b"x-gate", b"x-own")
    assert [others.header(name) for name in names] == [b"1", b"a=b", b"p2", None, b"o"]
    assert b"Via: 1.1 me" in others.head
    assert "s3cret" not in world.daemon.log
