"""Usage is read from whatever passes, however it is cut."""

import gzip
import json
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.usage.meter import UsageMeter
from openai_proxy.policies.usage.scanner import UsageScanner


def scan(pieces, deepest=1):
    scanner = UsageScanner(deepest)
    found = [usage for piece in pieces if (usage := scanner.feed(piece)) is not None]
    last = scanner.settle()
    return found if last is None else [*found, last]


usages = st.builds(
    lambda a, b: {"prompt_tokens": a, "completion_tokens": b}, st.integers(0, 99), st.integers(0, 99)
)
nested = usages.map(lambda usage: {"usage": None, **usage, "raw": {"usage": {"prompt_tokens": 1}}, "x": {"usage": None}})  # fmt: skip
fillers = st.sampled_from([{"usage": None}, {"x": '"usage": {"prompt_tokens": 1}'}, {"usage": {"type": "object"}}, {"usage": {"x": {"usage": {"prompt_tokens": 1}}}}, [1, "usage"]])  # fmt: skip


@given(
    st.lists(usages | nested | fillers, max_size=6),
    st.lists(st.integers(0, 3000), max_size=6),
    st.sampled_from([None, 2]),
)
def test_usage_is_found_however_it_is_cut(parts, marks, indent):
    """Whole, byte by byte or cut anywhere: the last usage object, and nothing inside strings or other objects."""
    objects = [{"usage": part} if "prompt_tokens" in part else part for part in parts]
    body = b"\n".join(json.dumps(each, indent=indent).encode() for each in objects) + b" "
    wanted = [
        Usage(part["prompt_tokens"], part["completion_tokens"]) for part in parts if "prompt_tokens" in part
    ]
    at = sorted({0, len(body), *(mark % len(body) for mark in marks)})
    assert scan([body])[-1:] == wanted[-1:]
    assert scan(body[a:b] for a, b in pairwise(at))[-1:] == wanted[-1:]
    assert scan(body[i : i + 1] for i in range(len(body))) == wanted


@given(st.lists(usages | nested | fillers, max_size=4), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["", " "]))  # fmt: skip
def test_usage_is_found_in_events_of_several_lines(parts, end, space):
    """Some servers indent their JSON and send one field `data` for each line; every client puts them together."""
    objects = [{"usage": part} if "prompt_tokens" in part else part for part in parts]
    lines = [json.dumps(each, indent=1).split("\n") for each in objects]
    body = (
        "".join("".join(f"data:{space}{line}{end}" for line in event) + end for event in lines).encode()
        + f"data: [DONE]{end}{end}".encode()
    )
    wanted = [
        Usage(part["prompt_tokens"], part["completion_tokens"]) for part in parts if "prompt_tokens" in part
    ]
    assert scan([body])[-1:] == wanted[-1:]
    assert scan(body[i : i + 1] for i in range(len(body))) == wanted


def test_an_endless_object_is_given_up():
    """What looks like usage and never ends is not kept; usage in the next event is found."""
    scanner_input = [b'{"usage":{"x":[', *[b"1," * 1000] * 20, b'1]}}\n\ndata: {"usage":{"prompt_tokens":1}}']
    assert scan(scanner_input) == [Usage(1)]


ECHOES = [
    b'{"tools":[{"parameters":{"usage":{"input_tokens":0}}}]%b}',
    b'{"tools":[{"parameters":{"properties":{"usage":{"input_tokens":0}}}}]%b}',
    b'{"metadata":{"usage":{"input_tokens":0}}%b}',
    b'{"choices":[{"usage":{"prompt_tokens":0}}]%b}',
    b'{"a":"\\"usage\\":{\\"input_tokens\\":0}"%b}',
]


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
def test_an_echo_is_no_usage(echo, step):
    """What a client writes into its tools, and a faithful upstream repeats, is not what it used."""
    real = b',"usage" : {"input_tokens":5},"user":"x"'
    for before, after, deepest in (
        (b"", b"", 1),
        (b'data: {"type":"response.completed","response":', b"}\n\n", 2),
    ):
        for member, wanted in ((b"", []), (real, [Usage(5)])):
            body = before + echo % member + after
            if deepest == 1 or b"metadata" not in echo:
                assert scan([body[at : at + step] for at in range(0, len(body), step)], deepest) == wanted


@pytest.mark.parametrize("step", [1, 1000])
def test_usage_before_an_echo_counts(step):
    """Whichever of them comes first."""
    body = b'{"usage":{"input_tokens":5},"tools":[{"a":{"usage":{"input_tokens":0}}}],"b":"}"}'
    assert scan([body[at : at + step] for at in range(0, len(body), step)]) == [Usage(5)]


@pytest.mark.parametrize("coding", [b"", b"gzip"])
def test_compressed_bodies_are_read(coding):
    """Usage and text are found inside gzip too."""
    body = b'{"choices":[{"message":{"content":"12345"}}],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
    found = []
    meter = UsageMeter(found.append, coding)
    sent = gzip.compress(body) if coding else body
    for at in range(0, len(sent), 7):
        meter.look(sent[at : at + 7])
    meter.flush()
    assert found == [Usage(5, 7)]


def _raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        (b"gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]) + b"\0\0"),
        (b"deflate", zlib.compress),
        (b"deflate", _raw_deflate),
    ],
    ids=["gzip members", "deflate", "deflate without its wrapper"],
)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_usage_is_read_in_whatever_form_servers_compress(coding, pack, step):
    """A flush may begin a new member of gzip, and some send deflate bare: it costs tokens all the same."""
    sent = pack(b'{"choices":[{"message":{"content":"12345"}}],' + b'"usage":{"prompt_tokens":5}}')
    found = []
    meter = UsageMeter(found.append, coding)
    for at in range(0, len(sent), step):
        meter.look(sent[at : at + step])
    meter.flush()
    assert found == [Usage(5)]


def test_a_bomb_is_read_up_to_a_limit():
    """An answer has far less in it; what follows is not looked at."""
    found = []
    meter = UsageMeter(found.append, b"gzip")
    meter.look(gzip.compress(b'{"usage":{"prompt_tokens":5,"completion_tokens":7}}' + b" " * 100_000_000))
    meter.look(b"more")
    meter.flush()
    assert found[-1] == Usage(5, 7)
    assert meter.estimated_output_tokens == 0


def test_strange_codings_are_estimated_by_size():
    """Of a coding that cannot be read only the size is known; broken gzip is not an error."""
    meter = UsageMeter([].append, b"x-foo")
    meter.look(b"x" * 40)
    assert meter.estimated_output_tokens == 10
    broken = UsageMeter([].append, b"gzip")
    broken.look(b"no gzip")
    broken.look(b"more")
    assert broken.estimated_output_tokens == 0


def test_deltas_alone_are_measured():
    """A Responses stream repeats its texts: the repetitions do not count."""
    meter = UsageMeter([].append, deltas=True)
    meter.look(b'{"delta":"12345678"}{"text":"12345678"}')
    assert meter.estimated_output_tokens == 2


@pytest.mark.parametrize(
    "sizes", [[300], [30_000], [30_000, 14], [14, 30_000], [7, 900, 20_000], [24_570, 14]]
)
def test_events_that_nobody_asks_for_are_reckoned(sizes):
    """However the reads are cut: a short last one, or a long first one, does not decide."""
    meter = UsageMeter(lambda _: None)
    event = b'data: {"choices":[{"index":0,"delta":{"content":" %b"}}]}\n\n'
    stream = b"".join(event % (b"x" * (number % 9 + 1)) for number in range(3000)) + b"data: [DONE]\n\n"
    at = 0
    while at < len(stream):
        for size in sizes:
            meter.look(stream[at : at + size])
            at += size
    assert 2700 < meter.output_events() < 3300
