"""Fuzz both edges for a number of messages."""

from __future__ import annotations

from random import Random

from attrs import define

from .checks import Difference, check_requests, check_response
from .edges import Edges
from .messages import broken, make_request, make_response, pieces


class Found(Exception):
    """A difference, and the bytes that show it."""

    def __init__(self, kind: str, raw: bytes, cut: list[bytes], why: Exception) -> None:
        super().__init__(f"{kind}: {why!r} by {raw!r} cut to {cut!r}")
        self.kind = kind
        self.raw = raw


@define
class Counts:
    """Messages made so far, and those of them that passed."""

    requests: int = 0
    forwarded: int = 0
    responses: int = 0
    relayed: int = 0


METHODS = (b"GET", b"GET", b"POST", b"HEAD")


def run(random: Random, number: int, counts: Counts) -> None:
    """Make `number` requests and as many responses. Raises Found at the first difference."""
    edges = Edges()
    made = 0
    while made < number:
        few = random.choice([1, 1, 1, 2, 3])
        raw = broken(random, b"".join([make_request(random) for _ in range(few)]))
        cut = pieces(random, raw)
        made += few
        counts.requests += few
        try:
            counts.forwarded += check_requests(edges, raw, cut)
        except Exception as error:
            raise Found("requests", raw, cut, error) from error
    for _ in range(number):
        raw = broken(random, make_response(random))
        if random.random() < 0.1:
            raw += make_response(random)
        cut = pieces(random, raw)
        method, ended = random.choice(METHODS), random.random() < 0.5
        counts.responses += 1
        try:
            counts.relayed += check_response(edges, method, raw, cut, ended)
        except Exception as error:
            raise Found("responses", raw, [method, b"%d" % ended, *cut], error) from error


__all__ = ["Counts", "Difference", "Found", "run"]
