"""Streams shortened for the assembly add up to the very same object."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_proxy.observe.exchange_log.assembly.assemble import assemble
from openai_proxy.observe.exchange_log.assembly.runs import shortened
from openai_proxy.wire.event_data import event_data


def decoded(data):
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


def put_together(events):
    """What the assembly makes of every single event; keys in order."""
    return json.dumps(assemble([decoded(data) for data in events if data != b"[DONE]"]))


def taken_apart(stream):
    events, torn = event_data(stream, True)
    return [*events, torn] if torn is not None else events


def chat(content, *, before="", after="", choice="", index=0, member="content"):
    return b'data: {"id":"c1"%b,"choices":[{"index":%d,"delta":{"%b":"%b"}%b}]%b}\n\n' % tuple(
        each if isinstance(each, int) else each.encode()
        for each in (before, index, member, content, choice, after)
    )


@pytest.mark.parametrize(
    "event",
    [
        lambda n: chat(f"token {n}"),
        lambda n: chat("the same"),
        lambda n: chat(f"t{n}", choice=',"logprobs":null,"finish_reason":null', after=',"usage":null'),
        lambda n: chat(f"t{n}", before=f',"created":{1700000000 + n}'),
        lambda n: chat(f"t{n}", after=f',"obfuscation":"{"aB3" * (n % 5)}"'),
        lambda n: chat(f"t{n}", before=f',"t":"{n:09d}"', after=f',"obfuscation":"{"aB3" * (n % 5)}"'),
        lambda n: chat(f"t{n}", member="reasoning_content"),
        lambda n: chat(r"\"a\\\u00e9\ud83d\ude00" + f"é😀\\n{n}"),
        lambda n: chat(f"t{n}").replace(b":", b": ").replace(b",", b", ").replace(b"data:  ", b"data: "),
        lambda n: b'data: {"choices":[{"text":"t%d","index":0}]}\n\n' % n,
        lambda n: (
            b'data: {"choices":[{"delta":{"role":"assistant","content":"t%d","refusal":null}}]}\n\n' % n
        ),
        lambda n: (
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\"%d"}}]}}]}\n\n'
            % n
        ),
        lambda n: (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
            b'"sequence_number":%d,"output_index":0,"content_index":0,"delta":"t%d","logprobs":[]}\n\n'
            % (n, n)
        ),
    ],
    ids=range(13),
)
def test_runs_become_few_events(event):
    """Texts of all the usual shapes are cut out: this is what makes the log of a stream cheap."""
    begin = b'data: {"type":"response.created","response":{"id":"r"}}\n\n' if b"event" in event(0) else b""
    stream = begin + b"".join(event(n) for n in range(1, 90)) + b"data: [DONE]\n\n"
    events = taken_apart(stream)
    short = shortened(events)
    assert len(events) > 89
    assert len(short) < 25
    assert put_together(short) == put_together(events) != "null"


def test_long_streams_are_shortened_throughout():
    """A stream of many runs, parted by comments and other events, stays cheap."""
    part = b"".join(chat(f"t{n}") for n in range(300)) + b": ping\n\n" + chat("", choice=',"x":1')
    events = taken_apart(part * 20)
    assert len(shortened(events)) < 400
    assert put_together(shortened(events)) == put_together(events)


PLAIN = ["a", "Hello", " wörld", "😀", "~", "x y", ",", r"\n", r"\"", r"\\", r"\u00e9", r"\ud83d\ude00", ""]
ODD = [
    '"',
    "\\",
    r"\u12",
    r"\ud83d",
    r"\ude00",
    r"\x",
    "\t",
    "\n",
    "\n\n",
    '"},"x":{"y":"',
    '","content":"x',
    "\r\n",
]
WORDS = [
    ['"a"', '"b1"', '"Zm9v"'],
    ["1", "2", "17", "-3"],
    ["1", "01", "1.5", "99999999999999999999", "-"],
    ['"a"', '"~word~"', '"'],
    ["null", "[]", '"1"'],
]
MEMBERS = ["", "", "", ',"t":%s', ',"t":%s', ',"id":%s,"t":%s']
ODD_MEMBERS = [
    ',"type":%s',
    ',"response":%s',
    ',"choices":%s',
    ',"usage":%s',
    ',"output_index":%s',
    ',"x":{"t":%s}',
]
IN_CHOICE = ["", "", ',"finish_reason":null', ',"finish_reason":"stop"', ',"logprobs":{"content":[]}']
ODD_IN_CHOICE = [
    ',"logprobs":{"content":[{"token":"a"}]}',
    ',"message":{"content":5}',
    ',"filter":{"severity":"safe"}',
    ',"delta":{"content":"twice"}',
    '},{"index":0,"delta":{"content":"y"}',
]
DELTAS = [
    '{"content":"%s"}',
    '{"content":"%s"}',
    '{"role":"assistant","content":"%s"}',
    '{"content":"%s","refusal":null,"x":5}',
    '{"tool_calls":[{"index":0,"function":{"arguments":"%s"}}]}',
    '{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"%s"}}]}',
]
ODD_DELTAS = [
    '{"content":"%s","reasoning_content":"x"}',
    '{"content":"%s","content":"x"}',
    '{"role":"%s"}',
    '{"role":{"content":"%s"}}',
    '{"tool_calls":[{"function":{"arguments":"%s"}}]}',
    '{"tool_calls":[{"index":0,"text":5},{"index":0,"text":"%s"}]}',
    '{"content":["%s"]}',
    "{}",
]
SHAPES = [
    'data: {"object":"c"BEFORE,"choices":[{"index":INDEX,"delta":DELTACHOICE}]AFTER}\n\n',
    'data: {"object":"c"BEFORE,"choices":[{"index":INDEX,"delta":DELTACHOICE}]AFTER}\n\n',
    'data: {"object":"c"BEFORE,"choices":[{"text":"%s","index":INDEXCHOICE}]AFTER}\n\n',
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"BEFORE,"output_index":INDEX,'
    '"content_index":0,"delta":"%s"AFTER}\n\n',
]
ODD_SHAPES = [
    'data: {"type":"response.x.delta"BEFORE,"delta":"%s","choices":[{"delta":{}}]AFTER}\n\n',
    'data: {"object":"c","name":"%s","choices":[{"delta":{"content":"%s"}}]}\n\n',
    'data: {"object":"c","choices":[{"message":{"content":5},"delta":DELTA}]}\n\n',
    'data: {"object":"c","choices":[{"finish_reason":"%s","delta":{}}]}\n\n',
    'data: {"object":"c","choices":[{"text":{"status":"%s"}}]}\n\n',
    'data: x\ndata: {"object":"c"BEFORE,"choices":[{"index":INDEX,"delta":DELTA}]}\n\n',
    'id: 1\ndata: {"object":"c"BEFORE,"choices":[{"index":INDEX,"delta":DELTA}]}\n\n',
    'data: {"object":"c"BEFORE,"choices":[{"index":INDEX,"delta":DELTA}]}\ndata: \n\n',
    'data: {"object":"c"BEFORE,"choices":[{"index":INDEX,"delta":DELTA}]}\n',
]
OTHERS = [
    "data: [DONE]\n\n",
    ": ping\n\n",
    "data: x\n",
    "id: 5\n",
    "\n",
    "event: x\n",
    'data: {"type":"response.created","response":{"id":"r","output":[]}}\n\n',
    'data: {"choices":[],"usage":{"total_tokens":1}}\n\n',
    'data:{"choices":[{"delta":{"content":"x"}}]}\n\n',
    'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
]


def run(random):
    """Events of one shape, as streams send them; often one thing about some or all of them is odd."""
    odd = random.choice(["", "", "", "shape", "member", "choice", "delta", "text", "word", "other"])
    shape = random.choice(ODD_SHAPES if odd == "shape" else SHAPES)
    for name, usual, strange in (("DELTA", DELTAS, ODD_DELTAS), ("CHOICE", IN_CHOICE, ODD_IN_CHOICE)):
        shape = shape.replace(name, random.choice(strange if odd == name.lower() else usual))
    shape = shape.replace("INDEX", random.choice("0001"))
    places = {name: random.choice(MEMBERS) for name in ("BEFORE", "AFTER")}
    if odd == "member":
        places[random.choice(list(places))] = random.choice(ODD_MEMBERS)
    words = random.choice(WORDS if odd == "word" else WORDS[:2])
    usual_texts = random.sample(PLAIN, 3) + ["b"] * 3
    length = random.randint(1, 20)
    odd_at = random.randrange(length)
    stream = ""
    for at in range(length):
        event = shape.replace("%s", random.choice(ODD if odd == "text" and at == odd_at else usual_texts))
        for name, member in places.items():
            event = event.replace(name, member.replace("%s", random.choice(words)))
        stream += event + (random.choice(OTHERS) if odd == "other" and at == odd_at else "")
    return stream


@settings(max_examples=400)
@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=3),
    st.integers(0, 200),
    st.sampled_from([False, False, False, True]),
    st.sampled_from(["", "", "", OTHERS[6], OTHERS[9], "\ufeff", "\n", "data: y\n"]),
)
def test_shortened_streams_add_up_to_the_same(seeds, cut, crlf, begin):
    """No stream, however odd or torn, is put together to anything else than all its events are."""
    stream = begin
    for seed in seeds:
        random = Random(seed)
        stream += run(random) + random.choice(["", random.choice(OTHERS)])
    data = stream.encode()
    data = data[: len(data) - cut] if cut < 40 else data
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    events = taken_apart(data)
    assert put_together(shortened(events)) == put_together(events)


@given(st.lists(st.binary(max_size=3), min_size=6, max_size=12))
def test_texts_torn_inside_a_character_are_left_alone(texts):
    """Halves of a character in two events are no text, as their events are no JSON."""
    events = [b'{"choices":[{"delta":{"content":"%b"}}]}' % text for text in texts]
    assert put_together(shortened(events)) == put_together(events)


def test_halves_of_a_surrogate_pair_stay_apart():
    """An emoji whose halves come in two events is put together as without shortening."""
    events = taken_apart(b"".join(chat(half) for half in [r"\ud83d", r"\ude00"] * 5))
    assert put_together(shortened(events)) == put_together(events)


def test_numbers_on_two_lines_are_no_number():
    """A value that is no JSON alone is none in a run either."""
    events = [b'{"t":%b,"choices":[{"delta":{"content":"a"}}]}' % number for number in [b"1", b"2\n3"] * 5]
    assert put_together(shortened(events)) == put_together(events)
