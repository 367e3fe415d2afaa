"""Which endpoint of the mock upstream answers what. Pure, but for what `memory` keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

import orjson
from attrs import field, frozen

from ...wire.form_model import boundary_of
from . import responses, small
from .chat import chat, completions
from .form import parse_form
from .memory import MockMemory
from .model import model_of
from .reply import Estimate, Refusal, Reply, not_found
from .vectors import embeddings
from .words import digest_of

_DELIVERY = frozenset(("stream", "stream_options"))
"""Members that change how an answer comes, not what it says."""


@frozen(repr=False)
class Question:
    """The parts of a request that the mock upstream looks at."""

    method: str
    endpoint: str
    """Its name, as `ApiPath.named` has it: `files/{id}/content`."""
    target: bytes
    body: bytes = b""
    """Whole and decoded; empty without one."""
    document: dict[str, Any] | None = None
    path_model: str | None = None
    content_types: tuple[bytes, ...] = ()
    memory: MockMemory = field(factory=MockMemory)
    estimate: Estimate = field(default=lambda body, document: -(-len(body) // 4))

    @property
    def identifier(self) -> str:
        """The second segment of the path: which file or response; of a model, all that follows."""
        first, _, rest = self.target.partition(b"?")[0].strip(b"/").partition(b"/")
        if first != b"models":
            rest = rest.partition(b"/")[0]
        return unquote(rest.decode("ascii", "replace"))

    @property
    def parameters(self) -> dict[str, str]:
        """What the query says."""
        query = self.target.partition(b"?")[2].decode("ascii", "replace")
        return dict(parse_qsl(query, keep_blank_values=True))

    @property
    def model(self) -> str:
        """The model that is asked; Refusal without one."""
        return model_of(self.json, self.path_model)

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object of the body; Refusal without one."""
        if self.document is None:
            raise Refusal("We could not parse the JSON body of your request.", code="invalid_json")
        return self.document

    def prompt_tokens(self) -> int:
        """Return the tokens of the prompt, estimated."""
        return self.estimate(self._canonical(), self.json)

    def seed(self) -> bytes:
        """Return the digest that the answer follows from: spaces and the order of members do not count."""
        path_model = (self.path_model or "").encode("utf-8", "replace")
        return digest_of(self.endpoint.encode("utf-8", "replace"), path_model, self._canonical())

    def _canonical(self) -> bytes:
        document = {name: value for name, value in self.json.items() if name not in _DELIVERY}
        try:
            return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # what Python's JSON reads beyond RFC 8259
            return json.dumps(document, sort_keys=True).encode("ascii")


Answerer: TypeAlias = Callable[[Question], Reply]


def answer(question: Question) -> Reply:
    """Return the answer to a question; a Refusal of any of them is one too."""
    method = "GET" if question.method == "HEAD" else question.method
    answerer = _answerer(method, question.endpoint)
    try:
        if answerer is None:
            raise not_found(
                "The mock upstream does not answer this: it has chat/completions, completions, embeddings,"
                " responses, moderations, audio/speech, models and files.",
                code="not_mocked",
            )
        return answerer(question)
    except Refusal as refusal:
        return refusal.reply()


def _answerer(method: str, endpoint: str) -> Answerer | None:
    if method == "GET" and endpoint.startswith("models/"):  # names of models may have slashes
        return _model
    return _ANSWERS.get((method, endpoint))


def takes_body(method: str, endpoint: str) -> bool:
    """Say whether the body of a request is looked at."""
    return method == "POST" and (method, endpoint) in _ANSWERS


def _chat(asked: Question) -> Reply:
    return chat(asked.json, asked.model, asked.seed(), asked.prompt_tokens())


def _completions(asked: Question) -> Reply:
    return completions(asked.json, asked.model, asked.seed(), asked.prompt_tokens())


def _embeddings(asked: Question) -> Reply:
    return embeddings(asked.json, asked.model, asked.prompt_tokens())


def _moderations(asked: Question) -> Reply:
    name = asked.document.get("model") if asked.document is not None else None
    return small.moderations(
        asked.json, name if isinstance(name, str) else "omni-moderation-latest", asked.seed()
    )


def _speech(asked: Question) -> Reply:
    model_of(asked.json, asked.path_model)
    return small.speech(asked.json, asked.prompt_tokens())


def _models(asked: Question) -> Reply:
    return small.models()


def _model(asked: Question) -> Reply:
    return small.model(asked.identifier)


def _respond(asked: Question) -> Reply:
    document, seed = asked.json, asked.seed()
    asked.memory.check_previous(document.get("previous_response_id"))
    reply, stored = responses.respond(document, asked.model, seed, asked.prompt_tokens())
    if stored is not None:
        asked.memory.keep_response(
            responses.identifier_of(seed), stored, responses.input_items(document, seed)
        )
    return reply


def _stored(asked: Question) -> Reply:
    reply, parameters = asked.memory.response(asked.identifier), asked.parameters
    if parameters.get("stream") != "true":
        return reply
    after = parameters.get("starting_after", "")
    seen = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else -1
    return responses.stored_stream(reply.data, seen)


def _cancel(asked: Question) -> Reply:
    reply = asked.memory.response(asked.identifier)
    if not json.loads(reply.data)["background"]:
        raise Refusal("Only a background response can be cancelled.")
    return reply


def _input_tokens(asked: Question) -> Reply:
    return responses.input_tokens(asked.prompt_tokens())


def _compact(asked: Question) -> Reply:
    model_of(asked.json, asked.path_model)
    return responses.compact(asked.json, asked.seed(), asked.prompt_tokens())


def _upload(asked: Question) -> Reply:
    boundary = boundary_of(asked.content_types)
    if boundary is None:
        raise Refusal("Files are uploaded as multipart/form-data.")
    return asked.memory.upload(parse_form(asked.body, boundary))


_ANSWERS: dict[tuple[str, str], Answerer] = {
    ("POST", "chat/completions"): _chat,
    ("POST", "completions"): _completions,
    ("POST", "embeddings"): _embeddings,
    ("POST", "moderations"): _moderations,
    ("POST", "audio/speech"): _speech,
    ("GET", "models"): _models,
    ("GET", "models/{id}"): _model,
    ("POST", "responses"): _respond,
    ("POST", "responses/input_tokens"): _input_tokens,
    ("POST", "responses/compact"): _compact,
    ("GET", "responses/{id}"): _stored,
    ("DELETE", "responses/{id}"): lambda asked: asked.memory.delete_response(asked.identifier),
    ("POST", "responses/{id}/cancel"): _cancel,
    ("GET", "responses/{id}/input_items"): lambda asked: asked.memory.input_items(
        asked.identifier, asked.parameters
    ),
    ("POST", "files"): _upload,
    ("GET", "files"): lambda asked: asked.memory.list_files(asked.parameters),
    ("GET", "files/{id}"): lambda asked: asked.memory.file(asked.identifier),
    ("DELETE", "files/{id}"): lambda asked: asked.memory.delete_file(asked.identifier),
    ("GET", "files/{id}/content"): lambda asked: asked.memory.content(asked.identifier),
}
