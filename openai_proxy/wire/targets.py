"""Request targets: recognise the API and the proxy's own pages, and refuse the rest.

Pure. The rest of a path goes upstream byte for byte, so nothing here
rewrites: it maps a target to the bytes below the base URL, or refuses.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from attrs import frozen

from ..exchange.bounded_memo import short_memo
from ..exchange.errors import MalformedRequest, MisdirectedRequest, UnknownURL

API_SEGMENTS = frozenset(
    b"""agents assistants audio batches chat chatkit completions containers content_provenance_checks
    conversations decisions deployments edits embeddings engines evals files fine-tunes fine_tuning images
    live models moderations organization projects realtime responses safety skills threads uploads vaults
    vector_stores videos webhook_endpoints webhook_event_types""".split()
)
"""First path segments of the API: all of its OpenAPI description and of the newest SDK, the retired ones, Azure's.

A test compares this list with the paths of both.
"""

USUAL_ENDPOINTS = frozenset(segment.decode("ascii") for segment in API_SEGMENTS) | frozenset(
    [
        "chat/completions",
        "chat/completions/{id}",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "batches/{id}",
        "batches/{id}/cancel",
        "conversations/{id}",
        "files/{id}",
        "files/{id}/content",
        "fine_tuning/jobs",
        "images/edits",
        "images/generations",
        "images/variations",
        "models/{id}",
        "realtime/client_secrets",
        "realtime/calls",
        "responses/{id}",
        "responses/{id}/cancel",
        "responses/{id}/input_items",
        "responses/compact",
        "threads/{id}",
        "threads/{id}/messages",
        "threads/{id}/runs",
        "threads/runs",
        "uploads/{id}",
        "uploads/{id}/parts",
        "vector_stores/{id}",
        "vector_stores/{id}/files",
        "videos/{id}",
        "deployments/{id}/chat/completions",
        "deployments/{id}/completions",
        "deployments/{id}/embeddings",
        "engines/{id}/chat/completions",
        "engines/{id}/completions",
        "engines/{id}/embeddings",
    ]
)
"""Names of endpoints, as `ApiPath.endpoint` has them, that are always separate in metrics, whatever the answer was."""

_NAMING = frozenset((b"deployments", b"engines"))
"""The segment after one of these is the name of a model (Azure OpenAI, and OpenAI's API before 2022)."""

_AZURE = b"/openai/"
_VERSIONS = re.compile(rb"(?:/v1)+(?=/)")

API_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
PAGE_METHODS = (b"GET", b"HEAD", b"OPTIONS")
"""The methods of the proxy's own pages."""
_POST_ONLY = (b"POST", b"OPTIONS")
_METHODS = {
    b"/completions": _POST_ONLY,
    b"/embeddings": _POST_ONLY,
    b"/chat/completions": (b"GET", b"HEAD", b"POST", b"OPTIONS"),
}
"""Paths below the base that accept fewer methods."""

REQUIRED = {
    b"/chat/completions": ("model", "messages"),
    b"/completions": ("model",),
    b"/embeddings": ("model", "input"),
}
"""POST paths whose body must be a JSON object with these members."""

_JSON_ONLY = frozenset(REQUIRED) | {
    b"/responses",
    b"/responses/compact",
    b"/responses/input_tokens",
    b"/moderations",
    b"/images/generations",
    b"/audio/speech",
    b"/batches",
    b"/threads/runs",
}
"""Paths that accept only JSON: a body is parsed as JSON whatever its Content-Type says, as lenient servers do."""

# Path segments that are words of the API, not names of objects.
_WORDS = API_SEGMENTS | frozenset(
    b"""alerts alpha artifacts attach audio_speeches audio_transcriptions automations cases characters
    code_interpreter_sessions complete credentials data_retention environments extensions external_keys
    external_storage federation_rules file_batches file_search_calls fork hosted_tool_permissions
    invocations model_permissions rotate_secret service_tier_settings spend_alerts spend_limit subagents
    templates test traces turns versions voice_consents web_search_calls workload_identity_providers
    admin_api_keys approve batch cancel call_id certificates checkpoints client_secrets code completions
    content costs compact count edits events files generations hangup input_items input_tokens invites items
    jobs keys messages parts pause permissions projects refer reject remix resume results runs search
    server sessions speech steps subscriptions submit_tool_outputs tools transcription_sessions
    transcriptions translations usage users validate variations vector_stores voices accept output_items
    activate deactivate api_keys rate_limits service_accounts audit_logs calls graders run archive groups roles
    """.split()
)

_PAIRS = re.compile(rb"[&;]")
_LISTED = re.compile(rb"\[[^\]]*\]\Z")
_QUERY_MODELS = (b"model", b"deployment", b"deployment-id", b"deployment_id")
_UNRESERVED = re.compile(rb"%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")
_SLASH = re.compile(rb"%2[Ff]")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([/?].*)?", re.S)


@frozen
class ApiPath:
    """A target below the upstream's base URL."""

    target: bytes
    """Leading slash, rest and query as sent."""
    path: bytes
    """The same without the query."""
    endpoint: str
    """Bounded name for labels and rules: `chat/completions`, `files/{id}/content`."""
    methods: tuple[bytes, ...]
    required: tuple[str, ...]
    """Members that the body of a POST must have."""
    is_json: bool = False
    """Whether the body of a POST must be a JSON object."""
    model: str | None = None
    """The decoded model in a path such as `deployments/NAME/...` or `engines/NAME/...`."""
    named: str = ""
    """The endpoint's name in rules about endpoints: like `endpoint`, but for any path, decoded and in lower case."""
    azure: bool = False
    """Whether the path was `/openai/<rest>`, which is next to the `/v1` of an upstream whose base URL ends in `/openai/v1`."""


def origin_form(target: bytes, authorities: frozenset[bytes]) -> bytes:
    """Reduce absolute-form that names this proxy to origin-form.

    `authorities` are lower-cased `host:port` and `host` names of this proxy.
    Raises MisdirectedRequest for another origin, MalformedRequest for a form
    that RFC 9112 §3.2 does not allow here.
    """
    if target.startswith(b"/"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        if target == b"*":
            raise UnknownURL
        raise MalformedRequest("Invalid request target.")
    if match[1].lower() not in authorities:
        raise MisdirectedRequest
    rest = match[2] or b"/"
    return rest if rest.startswith(b"/") else b"/" + rest


def _check_segments(path: bytes) -> None:
    """Refuse dot, empty and backslash segments, plain or percent-encoded, with or without parameters.

    Some servers drop the part after a semicolon before they resolve `..`. A
    trailing slash is no empty segment. Decoded once: `%252e` is a name.
    """
    if b"%" in path:
        path = unquote_to_bytes(path)
    if b"\\" in path or b"\x00" in path:
        raise MalformedRequest("Invalid path: backslash.")
    segments = path.split(b"/")[1:]
    if segments and segments[-1] == b"":
        segments.pop()
    if b";" in path:
        segments = [segment.partition(b";")[0] for segment in segments]
        if not _NAMING.isdisjoint(segment.lower() for segment in segments):
            raise MalformedRequest("Invalid path: parameters (;) in a path that names a model.")
    if b"" in segments:
        raise MalformedRequest(
            "Invalid path: empty segment (//). A base URL that ends in a slash makes one in some clients."
        )
    if not {b".", b".."}.isdisjoint(segments):
        raise MalformedRequest("Invalid path: dot segment.")


def _endpoint(path: bytes) -> str:
    """Name the path with every identifier as `{id}`; bounded whatever clients send."""
    segments = path.strip(b"/").split(b"/")
    if segments[0] not in API_SEGMENTS or len(segments) > 8:
        return "other"
    return "/".join(s.decode("ascii") if s in _WORDS else "{id}" for s in segments)


def _named(plain: bytes) -> str:
    """Name a path for the rules about endpoints: no spelling that some server accepts may hide it."""
    segments = [part.partition(b";")[0] for part in unquote_to_bytes(plain).lower().split(b"/") if part]
    while len(segments) > 1 and segments[0] in (b"openai", b"v1"):
        del segments[0]
    first, *rest = segments or [b""]
    words = [s.decode("ascii") if s in _WORDS else "{id}" for s in rest]
    return "/".join([first.decode("utf-8", "replace"), *words])


def _plainly(path: bytes) -> bytes:
    """Return the path with letters, digits, `-._~` unescaped: equivalent by RFC 3986 §6.2.2.2."""
    if b"%" not in path:
        return path
    return _UNRESERVED.sub(lambda found: unquote_to_bytes(found[0]), path)


@short_memo(1024, longest=64)
def map_target(target: bytes) -> ApiPath:
    """Map an origin-form target to the API, or raise.

    `/v1/<rest>` (collapsing repeated `/v1`) and `/<rest>` for every first
    segment of the API; Azure's `/openai/v1/<rest>` and `/openai/<rest>`
    alike. Raises UnknownURL outside the API, MalformedRequest
    for segments that could leave the base URL. Cached for short targets:
    clients send few different ones.
    """
    if b"#" in target:
        raise MalformedRequest("A request target has no fragment.")
    path, mark, query = target.partition(b"?")
    _check_segments(path)
    azure = path.startswith(_AZURE)
    if azure:
        path = path[len(_AZURE) - 1 :]
    versions = _VERSIONS.match(path)
    versioned = versions is not None
    path = path[versions.end() :] if versions is not None else path
    # The upstream unescapes: the spelling `%63hat` must not evade the rules for `chat`.
    plain = _plainly(path)
    if versioned:
        if path in (b"/", b"/v1"):
            raise UnknownURL
    elif plain[1:].partition(b"/")[0] not in API_SEGMENTS:
        raise UnknownURL
    model, plain = _model_and_rest(plain)
    plain = plain.rstrip(b"/")
    required = REQUIRED.get(plain, ())
    return ApiPath(
        target=path + mark + query,
        path=path,
        endpoint=_endpoint(plain),
        methods=_METHODS.get(plain, API_METHODS),
        required=required if model is None else tuple(name for name in required if name != "model"),
        is_json=plain in _JSON_ONLY,
        model=model,
        azure=azure and not versioned,
        named=_named(plain),
    )


def _model_and_rest(plain: bytes) -> tuple[str | None, bytes]:
    """Return the model in a path, and the path for rules, without the model.

    `/deployments/gpt-4o/chat/completions` is `gpt-4o` and `/chat/completions`
    for every rule; a deployment by itself stays `/deployments/gpt-4o`. Azure's
    server ignores case, and a server that unescapes `%2F` splits there: neither
    spelling may hide the model.
    """
    segments = plain.split(b"/")[1:]
    segments[:1] = _SLASH.split(segments[0])
    last = len(segments) - 1
    first = next((at for at in range(last) if segments[at].lower() not in (b"openai", b"v1")), last)
    segments = segments[first:]
    if segments[0].lower() not in _NAMING or len(segments) < 2 or not segments[1]:
        return None, plain
    rest = b"/".join(segments[2:]).lower()
    model = unquote_to_bytes(segments[1]).decode("utf-8", "replace")
    return model, b"/" + (rest or segments[0].lower() + b"/" + segments[1])


def with_path_model(target: bytes, model: str) -> bytes:
    """Return `deployments/NAME/...` or `engines/NAME/...` naming `model`, as one path segment."""
    path, mark, query = target.partition(b"?")
    segments = path.split(b"/")
    for at, segment in enumerate(segments[:-1]):
        if _plainly(segment).lower() in _NAMING:
            segments[at + 1] = quote(model, safe="!$&'()*+,;=:@").encode("ascii")
            break
    return b"/".join(segments) + mark + query


def models_of_query(query: bytes) -> list[str]:
    """Return the models in a query; nearly always none or one.

    For example `/realtime?model=gpt-realtime`, and Azure's
    `/openai/realtime?deployment=NAME`. A name counts as lenient servers read
    it: in any case (ASP.NET), as a list (`model[]`), and after a semicolon.
    """
    if not query:
        return []
    return [
        unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
        for name, _, value in (item.partition(b"=") for item in _PAIRS.split(query))
        if _LISTED.sub(b"", unquote_to_bytes(name).lower().strip(b" +\t\r\n\0")) in _QUERY_MODELS
    ]
