"""Targets: what is the API, what may not pass."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.errors import MalformedRequest, MisdirectedRequest, ProxyError, UnknownURL
from openai_proxy.wire.targets import (
    API_METHODS,
    API_SEGMENTS,
    map_target,
    models_of_query,
    origin_form,
    with_path_model,
)

OURS = frozenset({b"localhost:8080", b"127.0.0.1:8080"})


@pytest.mark.parametrize(
    ("target", "below", "endpoint"),
    [
        (b"/v1/models", b"/models", "models"),
        (b"/models", b"/models", "models"),
        (b"/v1/v1/v1/models?x=1", b"/models?x=1", "models"),
        (b"/v1/chat/completions/", b"/chat/completions/", "chat/completions"),
        (b"/v1/files/file-1/content", b"/files/file-1/content", "files/{id}/content"),
        (b"/v1/files/a%2Fb", b"/files/a%2Fb", "files/{id}"),
        (b"/v1/files/%252e%252e", b"/files/%252e%252e", "files/{id}"),
        (b"/v1/unheard-of/x", b"/unheard-of/x", "other"),
        (b"/v1/files?a=//../%2e", b"/files?a=//../%2e", "files"),
        (b"/v1/files/...", b"/files/...", "files/{id}"),
        (b"/v1/files/\xff", b"/files/\xff", "files/{id}"),
    ],
)
def test_target_of_the_api(target, below, endpoint):
    """The rest stays byte for byte; the name for labels is bounded."""
    path = map_target(target)
    assert (path.target, path.endpoint) == (below, endpoint)
    assert path.path == below.partition(b"?")[0]


@pytest.mark.parametrize(
    "target", [b"/", b"/v1", b"/v1/", b"/v1/v1", b"/nope", b"/v1x/models", b"/V1/models", b"/health2"]
)
def test_target_outside_the_api(target):
    """What the API does not have is nobody's to forward."""
    with pytest.raises(UnknownURL):
        map_target(target)


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/..;", b"/v1/..;/x", b"/v1/..;a=b/x", b"/v1/%2e%2e;/x", b"/v1/%2E.%3Bx/y", b"/v1/.;/x", b"/v1/;/x", b"/v1/a/;b",
        b"/files/..;x/y",
        b"/v1/..", b"/v1/../x", b"/v1/./x", b"/v1//x", b"//v1/x", b"/v1/%2e%2e/x", b"/v1/.%2E/x", b"/v1/a%2f..",
        b"/v1/a\\b", b"/v1/a%5cb", b"/v1/a%00", b"/v1/x#f", b"/v1/a%2f%2fb", b"/models//",
    ],
)  # fmt: skip
def test_target_that_could_leave_the_base_url(target):
    """Dots, empty segments and backslashes, plain or encoded."""
    with pytest.raises(MalformedRequest):
        map_target(target)


def test_methods_and_members_of_checked_paths():
    """The three endpoints with rules of their own; all others take every method of the API."""
    chat = map_target(b"/v1/chat/completions")
    assert chat.required == ("model", "messages")
    assert chat.methods == (b"GET", b"HEAD", b"POST", b"OPTIONS")
    assert map_target(b"/embeddings").required == ("model", "input")
    assert map_target(b"/v1/completions").methods == (b"POST", b"OPTIONS")
    other = map_target(b"/v1/responses")
    assert (other.methods, other.required) == (API_METHODS, ())


def test_escaped_letters_change_nothing():
    """What the upstream unescapes was counted as another endpoint: no limit of tokens, no check of the body."""
    path = map_target(b"/v1/%63hat/c%6Fmpletions?a=%41")
    assert path.target == b"/%63hat/c%6Fmpletions?a=%41"
    plain = map_target(b"/v1/chat/completions")
    assert (path.endpoint, path.methods, path.required) == (plain.endpoint, plain.methods, plain.required)
    assert map_target(b"/%65mbeddings").endpoint == "embeddings"
    assert map_target(b"/v1/chat%2Fcompletions").endpoint == "other"
    assert map_target(b"/v1/fine%5Ftuning/jobs").endpoint == "fine_tuning/jobs"


def test_absolute_form_of_this_proxy_is_served():
    """RFC 9112 §3.2.2: the form that proxies are asked with."""
    assert origin_form(b"http://LOCALHOST:8080/v1/x?y", OURS) == b"/v1/x?y"
    assert origin_form(b"http://127.0.0.1:8080", OURS) == b"/"
    assert origin_form(b"http://127.0.0.1:8080?x", OURS) == b"/?x"
    assert origin_form(b"/v1/x", OURS) == b"/v1/x"


@pytest.mark.parametrize(
    "target", [b"http://evil.test/v1/x", b"https://localhost/", b"http://a@localhost:8080/", b"http:///x"]
)
def test_absolute_form_of_another_origin_is_misdirected(target):
    """The client never chooses where requests go."""
    with pytest.raises(MisdirectedRequest):
        origin_form(target, OURS)


@pytest.mark.parametrize("target", [b"evil.test:80", b"@evil.test", b"v1/models", b"ftp://a/b", b"", b"?x"])
def test_other_forms_are_malformed(target):
    """Neither origin-form nor absolute-form."""
    with pytest.raises(MalformedRequest):
        origin_form(target, OURS)


def test_asterisk_is_unknown():
    """OPTIONS * asks about a server that is not the API's."""
    with pytest.raises(UnknownURL):
        origin_form(b"*", OURS)


@given(
    st.lists(st.sampled_from([b"/", b".", b"..", b"%2e", b"%2F", b"v1", b"files", b"\\", b"%5C", b"a", b"?"]))
)
def test_no_target_leaves_the_base_url(parts):
    """Whatever passes has no segment that a server could take for a way out."""
    try:
        path = map_target(b"/" + b"".join(parts))
    except ProxyError:
        return
    decoded = path.path.replace(b"%2e", b".").replace(b"%2F", b"/").replace(b"%5C", b"\\")
    segments = decoded.split(b"/")[1:]
    assert not {b".", b".."} & set(segments)
    assert b"" not in segments[:-1]
    assert b"\\" not in decoded


DESCRIBED = Path(__file__).with_name("api_paths.txt").read_text("ascii").split()
"""Every path of the API's OpenAPI description, version 3.3.1."""


def paths_of_the_sdk():
    """Return every path that the installed SDK calls, as the sources of its resources spell it."""
    openai = pytest.importorskip("openai", reason="pip install openai")
    resources = Path(openai.__file__).parent / "resources"
    spelled = re.compile(r"""["'](/[a-z][a-z_]*(?:/[a-z_{}]+)*)(?=["'?/])""")
    return {path for file in resources.rglob("*.py") for path in spelled.findall(file.read_text("utf-8"))}


def test_every_path_of_the_description_works_without_v1():
    """A family of the API that is missing from the list is a 404 for clients whose base URL has no /v1."""
    assert len(DESCRIBED) > 150
    assert {path.split("/")[1].encode() for path in DESCRIBED} - API_SEGMENTS == set()
    for path in DESCRIBED:
        assert map_target(path.encode()).target == path.encode()


def test_every_path_of_the_sdk_works_without_v1():
    """A list older than the newest SDK is noticed."""
    paths = paths_of_the_sdk()
    assert {"/chat/completions", "/responses"} <= paths
    assert len(paths) > 100
    assert {path.split("/")[1].encode() for path in paths} - API_SEGMENTS == set()


def test_words_of_described_paths_are_no_identifiers():
    """In a label a word of the API stands as it is, an identifier as {id}."""
    for path in DESCRIBED:
        shown = re.sub(r"{[^}]*}", "{id}", path.strip("/"))
        if shown.count("/") < 8:
            assert map_target(f"/v1{path}".encode()).endpoint == shown


def test_the_404_says_where_the_api_is():
    """Whoever forgot /v1 reads it in the message."""
    with pytest.raises(UnknownURL, match="under /v1"):
        map_target(b"/nonsense")


@pytest.mark.parametrize(
    ("target", "below", "azure"),
    [
        (b"/openai/v1/chat/completions?x=1", b"/chat/completions?x=1", False),
        (b"/openai/v1/v1/models", b"/models", False),
        (b"/openai/deployments/d/chat/completions?api-version=1", b"/deployments/d/chat/completions?api-version=1", True),
        (b"/openai/models?api-version=1", b"/models?api-version=1", True),
        (b"/openai/realtime?deployment=d", b"/realtime?deployment=d", True),
        (b"/v1/deployments/d/embeddings", b"/deployments/d/embeddings", False),
        (b"/deployments/d/embeddings", b"/deployments/d/embeddings", False),
        (b"/v1/openai/deployments/d/embeddings", b"/openai/deployments/d/embeddings", False),
    ],
)  # fmt: skip
def test_forms_of_azure(target, below, azure):
    """What Azure's clients call is the API, the rest byte for byte."""
    path = map_target(target)
    assert (path.target, path.azure) == (below, azure)


@pytest.mark.parametrize("target", [b"/openai", b"/openai/", b"/openai/nonsense", b"/openai/v1", b"/openai/v1/", b"/openaix/v1/models"])  # fmt: skip
def test_forms_of_azure_that_are_none(target):
    """Azure's prefix opens nothing else."""
    with pytest.raises(UnknownURL):
        map_target(target)


@pytest.mark.parametrize(
    ("target", "model", "endpoint"),
    [
        (b"/v1/deployments/gpt-4o/chat/completions?api-version=1", "gpt-4o", "chat/completions"),
        (b"/openai/deployments/gpt-4o/chat/completions", "gpt-4o", "chat/completions"),
        (b"/v1/openai/deployments/gpt-4o/chat/completions", "gpt-4o", "chat/completions"),
        (b"/v1/engines/gpt-4o/completions/", "gpt-4o", "completions"),
        (b"/engines/a%2Fb/embeddings", "a/b", "embeddings"),
        (b"/v1/%64eployments/gpt%2D4o/%63hat/completions", "gpt-4o", "chat/completions"),
        (b"/v1/Deployments/gpt-4o/Chat/Completions", "gpt-4o", "chat/completions"),
        (b"/v1/deployments%2fgpt-4o/chat/completions", "gpt-4o", "chat/completions"),
        (b"/v1/deployments/gpt-4o/audio/transcriptions", "gpt-4o", "audio/transcriptions"),
        (b"/v1/deployments/gpt-4o/extensions/chat/completions", "gpt-4o", "other"),
        (b"/v1/engines/gpt-4o", "gpt-4o", "engines/{id}"),
        (b"/v1/deployments", None, "deployments"),
        (b"/v1/deployments/", None, "deployments"),
        (b"/v1/chat/completions", None, "chat/completions"),
        (b"/v1/files/deployments/x", None, "files/deployments/{id}"),
    ],
)  # fmt: skip
def test_the_model_in_the_path(target, model, endpoint):
    """Every rule goes by the name in the path and by what follows it, however both are spelled."""
    path = map_target(target)
    assert (path.model, path.endpoint) == (model, endpoint)


def test_a_deployment_is_checked_without_its_model():
    """The path names the model, so the body need not."""
    path = map_target(b"/openai/deployments/d/chat/completions")
    assert (path.required, path.is_json) == (("messages",), True)
    assert path.methods == map_target(b"/v1/chat/completions").methods
    path = map_target(b"/v1/engines/d/completions")
    assert (path.required, path.is_json, path.methods) == ((), True, (b"POST", b"OPTIONS"))


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (b"/deployments/a/chat/completions?x=a", b"/deployments/org%2Fb/chat/completions?x=a"),
        (b"/engines/a", b"/engines/org%2Fb"),
        (b"/openai/%64eployments/a%2Fz/x", b"/openai/%64eployments/org%2Fb/x"),
        (b"/files/a", b"/files/a"),
    ],
)
def test_the_upstreams_name_in_the_path(target, named):
    """Only the name changes, and it stays one segment."""
    assert with_path_model(target, "org/b") == named


def test_the_model_of_a_query():
    """OpenAI's word for it and Azure's."""
    assert models_of_query(b"api-version=1&deployment=a%2Db&model=c&models=d") == ["a-b", "c"]


@pytest.mark.parametrize(
    "query",
    [b"Model=a", b"x=1;model=a", b"model[]=a", b"DEPLOYMENT=a", b"mod%65l=a", b"+model=a", b"%20model%00=a", b"model[0]=a", b"model%5B%5D=a", b"deployment-id=a"],
)  # fmt: skip
def test_a_model_in_a_query_counts_as_lenient_servers_read_it(query):
    """A spelling that some server accepts does not hide it."""
    assert models_of_query(query) == ["a"]


@pytest.mark.parametrize("query", [b"", b"remodel=a", b"xmodel=a", b"model_x=a", b"q=model", b"models=a"])
def test_other_members_of_a_query_name_no_model(query):
    """Only whole names count."""
    assert models_of_query(query) == []


@pytest.mark.parametrize(
    "target",
    [b"/v1/engines;a=b/x/completions", b"/v1/engines/x;a=b/completions", b"/v1/engines%3Ba/x/completions", b"/openai/Deployments;a/x/chat/completions", b"/v1/openai;x/deployments/a/chat/completions"],
)  # fmt: skip
def test_parameters_hide_no_model_of_a_path(target):
    """Some servers drop a segment's parameters, others do not: what they read as the model would differ."""
    with pytest.raises(MalformedRequest):
        map_target(target)
