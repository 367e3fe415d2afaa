"""Texts from a digest, and how they are counted and cut. Pure."""

from __future__ import annotations

import hashlib
import re

BYTES_PER_TOKEN = 4
MOST_TOKENS = 16_384
"""No text of the mock upstream is longer, whatever is asked for."""
_WORDS: tuple[str, ...] = tuple(
    re.findall(
        r"[a-z]+",
        "the a one each some every this that river lamp garden letter window market harbour mountain paper signal"
        " winter morning teacher bridge kitchen engine island forest doctor music number corner story village question"
        " answer reads keeps finds opens follows carries writes counts crosses waits turns measures draws remembers"
        " slowly quietly again often early together nearby almost quick green small bright old gentle simple careful"
        " under over beside after before with without between",
    )
)
_PIECE = re.compile(r"\S{1,16}\s{0,16}|\s{1,16}")


def digest_of(*parts: bytes) -> bytes:
    """Return 32 bytes that stand for `parts`."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()


def stream_of(seed: bytes, length: int) -> bytes:
    """Return `length` bytes that follow from `seed`; a shorter answer is the beginning of a longer one."""
    return hashlib.shake_256(seed).digest(length)


def text_from(seed: bytes) -> str:
    """Return two to four sentences that mean nothing, always the same for the same seed."""
    numbers = iter(stream_of(seed, 128))
    sentences = []
    for _ in range(2 + next(numbers) % 3):
        words = [_WORDS[next(numbers) % len(_WORDS)] for _ in range(6 + next(numbers) % 9)]
        sentences.append(" ".join(words).capitalize() + ".")
    return " ".join(sentences)


def tokens_in(text: str) -> int:
    """Return the model tokens of a text, estimated by its bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def cut(text: str, tokens: int | None) -> tuple[str, bool]:
    """Return the beginning of `text` that has at most that number of tokens, and whether something is missing."""
    limit_bytes = min(MOST_TOKENS, MOST_TOKENS if tokens is None else tokens) * BYTES_PER_TOKEN
    data = text[: limit_bytes + 1].encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return data.decode("utf-8"), False
    return data[:limit_bytes].decode("utf-8", "ignore"), True


def pieces_of(text: str) -> list[str]:
    """Return a text in words, as a model streams it: at most 32 characters each."""
    return _PIECE.findall(text)
