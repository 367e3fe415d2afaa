"""The state of a conversation that a request refers to, as digests.

State is at the upstream that created it: a response, a file, a conversation,
encrypted reasoning. Its name (an id, or the encrypted text itself) is
represented by 8 bytes of its SHA-256, so that nothing of it is stored.

Only the ordinary spelling of members counts: an overlooked reference costs a
search, and gives no access to anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from ...exchange.messages import ProxyRequest
from ...wire.request_json import TooManyValues
from ..authorize.object_ids import id_in_path, makes_objects, references_in_body
from .state_names import Digest, digest, encrypted_in

Reference: TypeAlias = tuple[Digest, str]
"""The digest of what is referred to, and the member of the request that refers to it."""

MOST_REFERENCES = 1000
"""The number of references of one request that are looked up; later ones are ignored."""
_NOTHING: tuple[Reference, ...] = ()
_WITHOUT_STATE = frozenset(
    ("embeddings", "completions", "moderations", "audio/speech", "images/generations", "models")
)
_FILE = b'file_id"'
_NESTED = {
    "chat/completions": (_FILE,),
    "responses": (_FILE, b'vector_store_ids"', b'"item_reference"', b'"container"'),
}
"""Bytes which show that a body of the most frequent endpoints may contain a reference below its top level."""


def references_of(request: ProxyRequest) -> tuple[Reference, ...]:
    """Return the references of a request, as far as it can be read. O(length of the body) at most."""
    endpoint = request.endpoint
    document = request.document
    if endpoint == "chat/completions":  # most requests, nearly none of which contains a reference
        if document is None or _FILE not in request.json:
            return _NOTHING
    elif document is None:
        if "{id}" not in endpoint:
            return _NOTHING
    elif endpoint in _WITHOUT_STATE:
        return _NOTHING
    found: list[Reference] = []
    named = id_in_path(request.target, endpoint) if "{id}" in endpoint else None
    if named is not None:
        found.append((digest(named.encode("utf-8", "replace")), "id"))
    if document is not None:
        found += _in_body(request, endpoint, document)
    return tuple(found[:MOST_REFERENCES])


def _in_body(request: ProxyRequest, endpoint: str, document: Mapping[str, object]) -> Iterator[Reference]:
    text = request.json
    nested = _NESTED.get(endpoint)
    previous = document.get("previous_response_id")
    conversation = document.get("conversation")
    if nested is None or any(map(text.__contains__, nested)) or not isinstance(conversation, str | None):
        try:
            found = references_in_body(text)
        except TooManyValues:  # it goes where any other request goes
            return
        for name, member in found.items():
            yield digest(name.encode("utf-8", "replace")), member
    else:
        for value, member in ((previous, "previous_response_id"), (conversation, "conversation")):
            if isinstance(value, str) and value:
                yield digest(value.encode("utf-8", "replace")), member
    if nested is None or endpoint == "responses":
        for each in encrypted_in(text):
            yield each, "encrypted_content"


def makes_state(request: ProxyRequest) -> bool:
    """Say whether a 2xx answer to a request may name state that later requests refer to."""
    endpoint = request.endpoint
    if endpoint == "chat/completions":
        document = request.document
        return document is not None and document.get("store") is True and request.method == b"POST"
    if endpoint == "responses" or endpoint == "responses/compact":
        return request.method == b"POST"
    return makes_objects(request.method, endpoint, request.document)
