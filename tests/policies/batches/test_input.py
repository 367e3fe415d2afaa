"""What the lines of a batch's input file name, however the file is cut."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.batches import input as batch_input
from openai_proxy.policies.batches.input import (
    BatchInput,
    BatchLines,
    ModelUse,
    dump_input,
    endpoint_of,
    load_input,
)

CHAT = "/v1/chat/completions"


def line(model="m", url=CHAT, **body):
    document = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10, **body}
    if model is not None:
        document = {"model": model, **document}
    return json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": document}).encode()


def read(*pieces):
    lines = BatchLines()
    for piece in pieces:
        lines.feed(piece)
    return lines.finish()


def test_lines_are_counted_by_their_model():
    """Models, endpoints and the estimate of tokens, as for single requests."""
    found = read(
        b"\n".join([line(), line(), line("n", "/v1/responses", max_output_tokens=7, max_tokens=None)])
    )
    assert found.problem is found.unmeasured is None
    assert found.endpoints == ("chat/completions", "responses")
    assert {model: (use.lines, use.output_tokens) for model, use in found.uses.items()} == {
        "m": (2, 20),
        "n": (1, 7),
    }
    assert all(use.input_tokens > 0 for use in found.uses.values())


MIXED = b"\r\n".join([line(), b"", line("\u00fc", tools=[{"model": "x"}]), line("n")]) + b"\n"


@given(st.lists(st.integers(0, len(MIXED)), max_size=8))
def test_no_cut_changes_anything(cuts):
    """Whole, byte by byte, and cut anywhere."""
    at = sorted({0, len(MIXED), *cuts})
    pieces = [MIXED[first:end] for first, end in itertools.pairwise(at)]
    whole = read(MIXED)
    assert whole.models == ["m", "\u00fc", "n", "x"]
    assert read(*pieces) == whole == read(*(bytes([byte]) for byte in MIXED))


@pytest.mark.parametrize(
    ("text", "models"),
    [
        (b'{"url":"/v1/responses","BODY":{"model":"m"}}', ["m"]),
        (b'{"url":"/v1/responses","\\u0062ody":{"Model":"m"}}', ["m"]),
        (b'\xef\xbb\xbf{"url":"/v1/responses","body":{"model":"m"}}', ["m"]),
        (b'{"url":"/deployments/d/chat/completions","body":{"messages":[]}}', ["d"]),
        (b'{"url":"/deployments/d/chat/completions","body":{"model":"m"}}', ["d", "m"]),
        (b'{"url":"/v1/responses","body":{"model":"m","fallbacks":["a",{"model":"b"}]}}', ["m", "a", "b"]),
        (b'{"url":"/v1/responses","body":{"model":"m","temperature":NaN}}', ["m"]),
        (b'{"url":"/v1/responses","body":{"model":"m","input":"\\ud83d"}}', ["m"]),
    ],
)
def test_models_are_found_in_any_spelling(text, models):
    """As servers that ignore case, or the first or last of two members, find them."""
    found = read(text)
    assert (found.problem, sorted(found.models)) == (None, sorted(models))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n \r\n",
        b"[]",
        b"no json",
        line()[:-1],
        line() + line(),
        line().replace(b' "url"', b'\r"url"'),
        line(None),
        line(""),
        line(7),
        line("m" * 300),
        line("\ud83d"),
        line(tools=[{"model": "\ud83d"}]),
        line("m", Model="n"),
        line().replace(b'"model": "m"', b'"model": "m", "model": "n"'),
        line(url="/v1/nowhere/../chat/completions"),
        line(url="https://elsewhere/v1/chat/completions"),
        line(url=CHAT + "?model=n"),
        line(url=None),
        line().replace(b'"POST"', b'"DELETE"'),
        line().replace(b'"method"', b'"body": {"model": "n"}, "method"'),
        line().replace(b'"method"', b'"URL": "/v1/embeddings", "method"'),
        b'{"url": "/v1/responses", "body": ["model"]}',
        b'{"custom_id": "a"}',
        json.dumps({"url": CHAT, "body": {"model": "m"}}).encode("utf-16"),
        b'{"url": "/v1/responses", "body": {"model": "m", "prompt": "\xff"}}',
        line() + b"\n\xef\xbb\xbf" + line(),
    ],
)
def test_what_cannot_be_read_is_said(text):
    """Without a word of the file: the words go to clients and logs."""
    found = read(text)
    assert found.problem
    assert not found.models
    assert "hi" not in found.problem.split()


def test_the_line_is_named():
    """So that whoever wrote the file finds it."""
    assert read(line() + b"\n\n" + line(None)).problem == "line 3 names no model, or one that cannot be read"
    assert read(line() + b"\n" + line(tools=[{"type": "web_search"}])).unmeasured == "line 2 has tools"


def test_a_long_line_and_a_large_file_are_not_kept(monkeypatch):
    """Memory is bounded by one line, and after a problem nothing is kept."""
    monkeypatch.setattr(batch_input, "LONGEST_LINE", 1000)
    lines = BatchLines()
    for _ in range(100):
        lines.feed(b'"' + b"x" * 99)
        assert lines.held_bytes <= 1000
    assert "longer" in lines.finish().problem
    assert "longer" in read(b"x" * 2000 + b"\n" + line()).problem
    monkeypatch.setattr(batch_input, "MOST_BYTES", 300)
    assert "larger" in read(*([line() + b"\n"] * 4)).problem


def test_names_are_bounded():
    """A file of more models than anybody uses is not read."""
    assert "more than the 64" in read(b"\n".join(line(f"m{number}") for number in range(65))).problem
    assert len(read(b"\n".join(line(f"m{number}") for number in range(64))).uses) == 64
    many = [{"model": f"m{number}"} for number in range(100)]
    assert "more than the 64" in read(line(tools=many)).problem
    urls = b"\n".join(line(url=f"/v1/threads/t{number}/runs") for number in range(65))
    assert read(urls).problem


@pytest.mark.parametrize("contents", [BatchInput(problem="line 1"), read(MIXED)])
def test_what_is_known_can_be_kept(contents):
    """In the state file or Redis."""
    assert load_input(dump_input(contents)) == contents


def test_the_estimate_is_the_sum_over_models():
    """What has no price adds nothing."""
    contents = BatchInput({"m": ModelUse(2, 10, 20), "n": ModelUse(1, 1, 1)})
    prices = {"m": 1.5}
    asked = []

    def price(model, usage, requests, timestamp):
        asked.append((model, usage.input_tokens, usage.output_tokens, requests, timestamp))
        return prices.get(model)

    assert contents.estimated_usd(price, 7.0) == 1.5
    assert asked == [("m", 10, 20, 2, 7.0), ("n", 1, 1, 1, 7.0)]


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (CHAT, ("chat/completions", None)),
        ("/chat/completions", ("chat/completions", None)),
        ("/v1/%63hat/completions/", ("chat/completions", None)),
        ("chat/completions", None),
        ("", None),
        ("/" + "x" * 300, None),
        (None, None),
    ],
)
def test_endpoints_are_named_as_for_requests(url, endpoint):
    """The rules of a key go by the same names."""
    assert endpoint_of(url) == endpoint
