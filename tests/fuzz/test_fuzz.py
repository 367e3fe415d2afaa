"""Made-up messages, read by llhttp and h11: no difference. See `python -m fuzz` for an hour of it."""

from __future__ import annotations

from random import Random

import h11
import pytest

from .checks import Difference, check_requests, check_response
from .edges import Edges
from .messages import corpus, pieces
from .readings import requests_by_h11, requests_by_llhttp
from .run import METHODS, Counts, run


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_difference_is_found(seed: int) -> None:
    """What goes up is what llhttp reads, h11 reads it again, and so do clients with what comes down."""
    counts = Counts()
    run(Random(seed), 1_500, counts)
    assert counts.forwarded > 150
    assert counts.relayed > 250


@pytest.mark.parametrize("raw", corpus("requests"))
def test_requests_of_the_corpus(raw: bytes) -> None:
    """Requests that showed a difference once, in many cuts."""
    random, edges = Random(1), Edges()
    for _ in range(20):
        check_requests(edges, raw, pieces(random, raw))


@pytest.mark.parametrize("raw", corpus("responses"))
def test_responses_of_the_corpus(raw: bytes) -> None:
    """Responses that showed a difference once, in many cuts, for every method."""
    random, edges = Random(1), Edges()
    for _ in range(10):
        for method in set(METHODS):
            for ended in (False, True):
                check_response(edges, method, raw, pieces(random, raw), ended)


HEAD = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\nhello", HEAD + b"Content-Length: 5\r\n\r\nworld"),
        (HEAD + b"Content-Length: 5\r\n\r\nhello", HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello"),
        (HEAD + b"TE: x\r\n\r\n", HEAD + b"TE: x\r\n\r\n"),
        (HEAD + b"\r\n", HEAD + b"\r\n" + HEAD + b"\r\n"),
        (HEAD + b"X: y\r\n\r\n", HEAD + b"\r\n"),
        (HEAD + b"\r\n", b"POST /v1/files\nX:y HTTP/1.1\r\nHost: a\r\n\r\n"),
    ],
    ids=["another body", "framed twice", "hop-by-hop", "one more", "a line less", "a bare line feed"],
)  # fmt: skip
def test_the_checks_see_what_they_are_for(raw: bytes, sent: bytes) -> None:
    """Each of these mutants of a proxy is caught."""

    class Mutant(Edges):
        def ask(self, pieces: list[bytes]) -> tuple[list[bytes], bytes]:
            return [sent], b""

    with pytest.raises(Difference):
        check_requests(Mutant(), raw, [raw])


@pytest.mark.parametrize(
    ("received", "how"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\no", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nok", None),
        (b"", None),
    ],
    ids=["another body", "one more", "shorter", "cut without a reset", "a line more", "nothing"],
)
def test_the_checks_see_what_they_are_for_downwards(received: bytes, how: str | None) -> None:
    """Each of these mutants of a proxy is caught."""

    class Mutant(Edges):
        def answer(self, *_: object) -> tuple[bytes, str | None, bool]:
            return received, how, False

    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with pytest.raises((Difference, h11.RemoteProtocolError)):
        check_response(Mutant(), b"GET", raw, [raw], True)


def test_the_readings_agree_on_what_is_well_formed() -> None:
    """Two parsers that have nothing in common read a pipeline alike."""
    raw = (
        HEAD
        + b"Content-Length: 5\r\n\r\nhello"
        + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    )
    found, rest = requests_by_h11(raw)
    assert (
        [each.body for each in requests_by_llhttp(raw)] == [each.body for each in found] == [b"hello", b"a"]
    )
    assert rest == b""
