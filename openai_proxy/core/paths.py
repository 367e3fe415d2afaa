"""Request targets: what is the API, what is ours, what may not pass.

Pure. The rest of a path goes upstream byte for byte, so nothing here
rewrites: it maps a target to the bytes below the base URL, or refuses.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from attrs import frozen

from .errors import MalformedRequest, MisdirectedRequest, UnknownURL

API_SEGMENTS = frozenset(
    b"""assistants audio batches chat chatkit completions containers content_provenance_checks
    conversations edits embeddings engines evals files fine-tunes fine_tuning images models moderations
    organization projects realtime responses skills threads uploads vector_stores videos""".split()
)
"""First path segments of the OpenAI API (its OpenAPI description, and the retired ones)."""

API_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
_POST_ONLY = (b"POST", b"OPTIONS")
_METHODS = {
    b"/completions": _POST_ONLY,
    b"/embeddings": _POST_ONLY,
    b"/chat/completions": (b"GET", b"HEAD", b"POST", b"OPTIONS"),
}
"""Paths below the base that take fewer methods."""

REQUIRED = {
    b"/chat/completions": ("model", "messages"),
    b"/completions": ("model",),
    b"/embeddings": ("model", "input"),
}
"""POST paths whose body must be a JSON object with these members."""

# Path segments that are words of the API, not names of somebody's objects.
_WORDS = API_SEGMENTS | frozenset(
    b"""admin_api_keys approve batch cancel call_id certificates checkpoints client_secrets code completions
    content costs compact count edits events files generations hangup input_items input_tokens invites items
    jobs keys messages parts pause permissions projects refer reject remix resume results runs search
    server sessions speech steps subscriptions submit_tool_outputs tools transcription_sessions
    transcriptions translations usage users validate variations vector_stores voices accept output_items
    activate deactivate api_keys rate_limits service_accounts audit_logs calls graders run archive groups roles
    """.split()
)

_UNRESERVED = re.compile(rb"%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")
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


def origin_form(target: bytes, authorities: frozenset[bytes]) -> bytes:
    """Reduce absolute-form that names this very proxy to origin-form.

    `authorities` are lower-cased `host:port` and `host` names of this proxy.
    Raises MisdirectedRequest for another origin, MalformedRequest for what
    is no form of RFC 9112 §3.2 that an origin server takes.
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
    """Refuse dot, empty and backslash segments, plain or percent-encoded.

    A trailing slash is no empty segment. Decoded once: `%252e` is a name.
    """
    if b"%" in path:
        path = unquote_to_bytes(path)
    if b"\\" in path or b"\x00" in path:
        raise MalformedRequest("Invalid path: backslash.")
    segments = path.split(b"/")[1:]
    if segments and segments[-1] == b"":
        segments.pop()
    if not {b"", b".", b".."}.isdisjoint(segments):
        raise MalformedRequest("Invalid path: empty or dot segment.")


def _endpoint(path: bytes) -> str:
    """Name the path with every identifier as `{id}`; bounded whatever strangers send."""
    segments = path.strip(b"/").split(b"/")
    if segments[0] not in API_SEGMENTS or len(segments) > 8:
        return "other"
    return "/".join(s.decode("ascii") if s in _WORDS else "{id}" for s in segments)


def _plainly(path: bytes) -> bytes:
    """Return the path with letters, digits, `-._~` unescaped: equivalent by RFC 3986 §6.2.2.2."""
    if b"%" not in path:
        return path
    return _UNRESERVED.sub(lambda found: unquote_to_bytes(found[0]), path)


def map_target(target: bytes) -> ApiPath:
    """Map an origin-form target to the API, or raise.

    `/v1/<rest>` (collapsing repeated `/v1`) and `/<rest>` for every first
    segment of the API. Raises UnknownURL outside the API, MalformedRequest
    for segments that could leave the base URL. Cached for short targets:
    clients send few different ones.
    """
    return _map_cached(target) if len(target) <= 64 else _map(target)


def _map(target: bytes) -> ApiPath:
    if b"#" in target:
        raise MalformedRequest("A request target has no fragment.")
    path, mark, query = target.partition(b"?")
    _check_segments(path)
    prefixed = False
    while path.startswith(b"/v1/"):
        path, prefixed = path[3:], True
    if prefixed:
        if path in (b"/", b"/v1"):
            raise UnknownURL
    elif _plainly(path)[1:].partition(b"/")[0] not in API_SEGMENTS:
        raise UnknownURL
    # The upstream unescapes: what is spelled `%63hat` must not slip past what holds for `chat`.
    plain = _plainly(path)
    return ApiPath(
        target=path + mark + query,
        path=path,
        endpoint=_endpoint(plain),
        methods=_METHODS.get(plain.rstrip(b"/"), API_METHODS),
        required=REQUIRED.get(plain.rstrip(b"/"), ()),
    )


_map_cached = lru_cache(maxsize=1024)(_map)


def models_of_query(query: bytes) -> list[str]:
    """Return the models that a query names, as `/realtime?model=gpt-realtime` does; nearly always none or one."""
    return [
        unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
        for name, _, value in (item.partition(b"=") for item in query.split(b"&"))
        if unquote_to_bytes(name) == b"model"
    ]
