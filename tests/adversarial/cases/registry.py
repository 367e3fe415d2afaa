"""How cases are registered, and the inputs that several of them share."""

from __future__ import annotations

import json
from contextlib import suppress

from adversarial.meter import metered

CASES: dict[str, list] = {}


def case(name, *inputs, call=None):
    """Register a function of one argument with makers of inputs, each from a size."""

    def run_of(make):
        def at(size):
            module, _, path = name.partition(":")
            function = metered(module)
            for part in path.split("."):
                function = getattr(function, part)
            value = make(size)
            runner = call or (lambda target, argument: target(argument))

            def run():
                with suppress(Exception):  # a refusal is a right answer; its cost counts
                    result = runner(function, value)
                    if hasattr(result, "__next__"):
                        for _ in result:
                            pass

            return run

        return at

    CASES.setdefault(name, []).extend(run_of(make) for make in inputs)


def rep(unit, before=b"", after=b""):
    return lambda size: before + unit * (size // len(unit)) + after


def text(unit):
    return lambda size: unit * (size // len(unit))


def pairs(name=b"x", unit=b"a", value=b"v"):
    """Many lines, and one long line."""
    return [
        lambda size: [(name + b"%d" % n, value) for n in range(size // 16)],
        lambda size: [(name, value) for _ in range(size // 16)],
        lambda size: [(name, unit * (size // len(unit)))],
    ]


def fed(make, step=None, **options):
    """Return a call that feeds a value to an object in pieces, as a network does."""

    def call(target, value):
        fed_into = make(target, **options)
        for at in range(0, len(value), step or max(len(value), 1)):
            fed_into.feed(value[at : at + (step or len(value))])
        fed_into.finish() if hasattr(fed_into, "finish") else None

    return call


NEST = [rep(b"["), rep(b'{"a":'), lambda n: b"[" * (n // 2) + b"]" * (n // 2)]
JSONS = [
    *NEST,
    rep(b'{"model":"m","messages":[', b"", b"]}"),
    rep(b"[],", b'{"model":"m","x":[', b"1]}"),
    rep(b'\\"', b'{"a":"', b'"}'),
    rep(b"\\\\", b'{"a":"', b'"}'),
    rep(b"\\u0041", b'{"a":"', b'"}'),
    rep(b'"a":1,', b"{", b'"b":1}'),
    rep(b'"usage":{'),
    rep(b'"usage":{"input_tokens":1},', b"{", b'"b":1}'),
    rep(b'"usage":null,', b"{", b'"b":1}'),
    rep(b'{"error":', b"", b""),
    rep(b" ", b'{"a"', b":1}"),
    rep(b"9", b'{"a":', b"}"),
]
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" token"}}]}'
STREAMS = [
    rep(EVENT + b"\n\n"),
    rep(EVENT + b"\r\n\r\n"),
    rep(EVENT + b"\r\r"),
    rep(b"data: a\n"),
    rep(b"data: a\r\n"),
    rep(b"data\n\n"),
    rep(b"\r"),
    rep(b"\n"),
    rep(b":\n"),
    rep(b"event: error\n\n"),
    rep(b"a", b"data: "),
    rep(b"\r", b"data: a"),
    rep(b'data: {"choices":[],"usage":null}\n\n'),
    rep(b'data: {"usage":{"a":\n\n'),
    lambda n: b"".join(b'data: {"choices":[],"k%06d":null}\n\n' % i for i in range(n // 36)),
    lambda n: b"".join(
        b'data: {"choices":[{"index":%d,"delta":{"content":"<"}}]}\n\n' % i for i in range(n // 60)
    ),
    lambda n: b"".join(
        b'data: {"type":"response.output_text.delta","output_index":%d,"delta":"x"}\n\n' % i
        for i in range(n // 80)
    ),
]
KEYS = [
    text(unit)
    for unit in (
        *(
            "eyJ-",
            "eyJaaaaaa-",
            "eyJaaaaaa.",
            "sk-",
            "sk-aaaaaa ",
            "Bearer ",
            "Bearer\t",
            "Basic  ",
            "AKIA",
            "a=-",
        ),
        *(
            "a-",
            "key=a&",
            "%73k-",
            "%25",
            "ek_",
            "sess-",
            "x://",
            "://a@",
            "xoxb-",
            "A",
            "-",
            ".",
            "=",
            "hf_a ",
        ),
    )
]


def choices(n):
    each = {
        "index": 0,
        "message": {"content": "<think>a</think>b"},
        "delta": {"content": "<think>a</think>b<"},
    }
    return {"choices": [{**each, "index": number} for number in range(n // 100)]}


def document_of(make):
    def made(size):
        with suppress(ValueError):
            value = json.loads(make(size))
            if isinstance(value, dict):
                return value
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * (size // 30)}]}

    return made


DOCUMENTS = [
    lambda n: {"messages": [{"role": "user", "content": "x"}] * (n // 30), "input": ["a"] * (n // 8)},
    lambda n: {f"k{i}": None for i in range(n // 10)},
    lambda n: {"prompt": "a" * n, "tools": [{"a": ["b"] * (n // 8)}]},
    choices,
]
