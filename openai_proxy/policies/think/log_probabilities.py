"""Keep the log probabilities of a text's tokens only if their text is visible.

Tokens are aligned with the text by their bytes. Pure; used by
`rewrite` and `texts`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from attrs import define, field, frozen

from ...wire.json_members import Span, iter_elements, locate_all
from .splitter import VISIBLE, Piece

Path: TypeAlias = tuple[str | int, ...]
Token: TypeAlias = tuple[bytes, ...]
"""The JSON of one token, in each of the lists that contain it."""
Members: TypeAlias = dict[Path, dict[str, bytes]]
"""New members (name to JSON) of the objects at some paths."""

_LEGACY = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
OFFSETS = "text_offset"


@frozen
class TokenLists:
    """The positions of a text's tokens in a document."""

    path: Path
    """The path to the object that has the lists."""
    names: tuple[str, ...]
    """The names of lists of equal length, with one element for each token."""
    sizes: tuple[int, ...] | None
    """The bytes of each token; None if they do not match the text: then all are removed."""
    nothing: tuple[Path, str, bytes]
    """Path, member and value that remove all log probabilities."""

    @property
    def paths(self) -> list[Path]:
        """The paths to the lists."""
        return [(*self.path, name) for name in self.names]

    def members(self, tokens: Sequence[Token]) -> Members:
        """Return the edit that keeps only these tokens."""
        lists = {
            name: b"[" + b",".join([token[number] for token in tokens]) + b"]"
            for number, name in enumerate(self.names)
        }
        return {self.path: lists}

    @property
    def without(self) -> Members:
        """Return the edit that removes all of them."""
        path, name, value = self.nothing
        return {path: {name: value}}


class LocatedTokens:
    """The tokens of a document; the first request locates all lists together."""

    def __init__(self, body: bytes, lists: Iterable[TokenLists | None]) -> None:
        self._body = body
        self._lists = [each for each in lists if each is not None]
        self._spans: dict[Path, Span] | None = None

    def tokens(self, of: TokenLists) -> list[Token]:
        """Return the tokens of one of the lists that this was made for."""
        body, spans = self._body, self._spans
        if spans is None:
            spans = self._spans = locate_all(body, [path for each in self._lists for path in each.paths])
        lists = [[body[a:b] for a, b in iter_elements(body, spans[path][0])] for path in of.paths]
        return list(zip(*lists, strict=True))


def text_bytes(text: str) -> bytes:
    """Return `text` in UTF-8; halves of characters as three bytes each."""
    return text.encode("utf-8", "surrogatepass")


def _spelled(token: Any) -> bytes | None:
    """Return the bytes of a token in a chat's list, None if it is not one."""
    if not isinstance(token, dict) or not isinstance(token.get("token"), str):
        return None
    if isinstance(own := token.get("bytes"), list):
        try:
            return bytes(own)
        except (TypeError, ValueError):
            return None
    return text_bytes(token["token"])


def _sizes(spelled: Sequence[bytes | None], text: str) -> tuple[int, ...] | None:
    tokens = [each for each in spelled if each is not None]
    if len(tokens) < len(spelled) or b"".join(tokens) != text_bytes(text):
        return None
    return tuple([len(each) for each in tokens])


def _aligned(tokens: list[Any], text: str) -> tuple[int, ...] | None:
    sizes = _sizes([_spelled(token) for token in tokens], text)
    if sizes is None:  # some servers fill `bytes` with another spelling's bytes
        names = [token.get("token") if isinstance(token, dict) else None for token in tokens]
        sizes = _sizes([text_bytes(name) if isinstance(name, str) else None for name in names], text)
    return sizes


def chat_tokens(path: Path, choice: dict[str, Any], text: str) -> TokenLists | None:
    """Return the tokens of the choice at `path`, None if it has none."""
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        return None
    nothing = (path, "logprobs", b"null")
    tokens, refusal = found.get("content"), found.get("refusal")
    owner = choice.get("message", choice.get("delta"))
    refused = owner.get("refusal") if isinstance(owner, dict) else None
    if refusal and (
        not isinstance(refusal, list)
        or _aligned(refusal, refused if isinstance(refused, str) else "") is None
    ):
        return TokenLists((*path, "logprobs"), ("refusal",), None, nothing)
    if isinstance(tokens, list) and tokens:
        return TokenLists((*path, "logprobs"), ("content",), _aligned(tokens, text), nothing)
    if isinstance(found.get("tokens"), list):
        return legacy_tokens(path, choice, text)
    return None


def legacy_tokens(path: Path, choice: dict[str, Any], text: str) -> TokenLists | None:
    """Return the tokens of the choice at `path` of the completions API, None if it has none."""
    found = choice.get("logprobs")
    if not isinstance(found, dict) or not isinstance(found.get("tokens"), list):
        return chat_tokens(path, choice, text) if isinstance(found, dict) and "content" in found else None
    tokens = found["tokens"]
    names = tuple([name for name in _LEGACY if isinstance(found.get(name), list)])
    sizes = _sizes([text_bytes(each) if isinstance(each, str) else None for each in tokens], text)
    if any(len(found[name]) != len(tokens) for name in names):
        sizes = None
    return TokenLists((*path, "logprobs"), names, sizes, (path, "logprobs", b"null"))


def response_tokens(path: Path, owner: dict[str, Any], text: str) -> TokenLists | None:
    """Return the tokens of the output text or event at `path` of the Responses API, None if it has none."""
    tokens = owner.get("logprobs")
    if not isinstance(tokens, list) or not tokens:
        return None
    return TokenLists(path, ("logprobs",), _aligned(tokens, text), (path, "logprobs", b"[]"))


@define
class TokenQueue:
    """The tokens of a text in order, until it is decided whether they are kept.

    A token is kept if all of its text is visible. O(tokens and pieces); holds
    the tokens whose text the splitter holds.
    """

    _waiting: deque[tuple[int, Token | None]] = field(factory=deque)
    """The remaining bytes of text of each, and the token; None for text without a token, or with a removed one."""
    _kind: int = VISIBLE
    removed_chars: int = 0

    def push(self, size_bytes: int, token: Token | None = None) -> None:
        """Add a token, or text that has none."""
        self._waiting.append((size_bytes, token))

    def take(self, pieces: Sequence[Piece], offsets_at: int | None = None) -> list[Token]:
        """Return the tokens that these pieces, the next of the text, make visible.

        `offsets_at` names the member of each token that counts the characters
        before it, from which the removed ones are subtracted.
        """
        shown: list[Token] = []
        for kind, text in pieces:
            left = len(text_bytes(text))
            self._kind = kind
            while self._waiting and left:
                size, token = self._waiting.popleft()
                if kind != VISIBLE:
                    token = token if size == 0 else None
                if size > left:
                    self._waiting.appendleft((size - left, token))
                    break
                left -= size
                self._show(token if size or kind == VISIBLE else None, shown, offsets_at)
            if kind != VISIBLE:
                self.removed_chars += len(text)
        while self._waiting and self._waiting[0][0] == 0:
            _, token = self._waiting.popleft()
            self._show(token if self._kind == VISIBLE else None, shown, offsets_at)
        return shown

    def _show(self, token: Token | None, shown: list[Token], offsets_at: int | None) -> None:
        if token is None:
            return
        if offsets_at is not None and token[offsets_at].isdigit():
            moved = b"%d" % (int(token[offsets_at]) - self.removed_chars)
            token = (*token[:offsets_at], moved, *token[offsets_at + 1 :])
        shown.append(token)


def shown_tokens(located: LocatedTokens, lists: TokenLists, pieces: Sequence[Piece]) -> Members:
    """Return the edit that keeps only the tokens of a whole text that its pieces make visible."""
    if lists.sizes is None:
        return lists.without
    queue = TokenQueue()
    for size, token in zip(lists.sizes, located.tokens(lists), strict=True):
        queue.push(size, token)
    return lists.members(queue.take(pieces, lists.names.index(OFFSETS) if OFFSETS in lists.names else None))
