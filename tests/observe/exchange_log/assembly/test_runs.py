"""Streams shortened for the assembly add up to the very same object."""

import json
import string
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taken import Taken

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


def run(random, may_be_odd=True):
    """Events of one shape, as streams send them; mostly one thing about some or all of them is odd, if it may be."""
    odd = random.choice(["", "shape", "member", "choice", "delta", "text", "text", "word", "word", "other"])
    odd = odd if may_be_odd else ""
    shape = random.choice(ODD_SHAPES if odd == "shape" else SHAPES)
    for name, usual, strange in (("DELTA", DELTAS, ODD_DELTAS), ("CHOICE", IN_CHOICE, ODD_IN_CHOICE)):
        shape = shape.replace(name, random.choice(strange if odd == name.lower() else usual))
    shape = shape.replace("INDEX", random.choice("0001"))
    edges = {name: random.choice(MEMBERS) for name in ("BEFORE", "AFTER")}
    if odd == "member":
        edges[random.choice(list(edges))] = random.choice(ODD_MEMBERS)
    words = random.choice(WORDS if odd == "word" else WORDS[:2])
    usual_texts = random.sample(PLAIN, 3) + ["b"] * 3
    length = random.randint(8, 20)
    odd_at = random.randrange(length)
    stream = ""
    for at in range(length):
        event = shape.replace("%s", random.choice(ODD if odd == "text" and at == odd_at else usual_texts))
        for name, member in edges.items():
            event = event.replace(name, member.replace("%s", random.choice(words)))
        stream += event + (random.choice(OTHERS) if odd == "other" and at == odd_at else "")
    return stream


def test_shortened_streams_add_up_to_the_same():
    """No stream, however odd or torn, is put together to anything else than all its events are."""
    with Taken() as note:

        @settings(max_examples=max(400, settings().max_examples))
        @given(
            st.lists(st.integers(0, 2**40), min_size=2, max_size=4),
            st.integers(0, 200),
            st.sampled_from([False, False, False, True]),
            st.sampled_from(["", "", "", OTHERS[6], OTHERS[9], "\ufeff", "\n", "data: y\n"]),
        )
        def check(seeds, cut, crlf, begin):
            stream = begin
            for number, seed in enumerate(seeds):
                random = Random(seed)
                stream += run(random, number > 0) + random.choice(["", random.choice(OTHERS)])
            data = stream.encode()
            data = data[: len(data) - cut] if cut < 40 else data
            if crlf:
                data = data.replace(b"\n", b"\r\n")
            events = taken_apart(data)
            short = shortened(events)
            note(len(short) < len(events))
            assert put_together(short) == put_together(events)

        check()


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
    """A value that is no JSON by itself is none in a run either."""
    events = [b'{"t":%b,"choices":[{"delta":{"content":"a"}}]}' % number for number in [b"1", b"2\n3"] * 5]
    assert put_together(shortened(events)) == put_together(events)


TOKENS = st.lists(
    st.sampled_from(
        [" the", " a", "model", ".", r"\n", r" \"so\"", "é", "😀", "{", "}", "data:", "12", " x"]
    ),
    min_size=20,
    max_size=80,
)


def padding(random):
    """What OpenAI fills an event up with, so that its length does not tell its text."""
    return "".join(random.choices(string.ascii_letters + string.digits, k=random.randint(1, 16)))


def openai_chat(tokens, random, id_="chatcmpl-C1"):
    """As api.openai.com streams a chat completion."""
    begin = f'{{"id":"{id_}","object":"chat.completion.chunk","created":1764500000,"model":"gpt-4o-mini",'
    begin += '"service_tier":"default","system_fingerprint":"fp_1","choices":'
    choice = '[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}],"obfuscation":"%s"}'
    yield begin + choice % ('{"role":"assistant","content":"","refusal":null}', "null", padding(random))
    for token in tokens:
        yield begin + choice % (f'{{"content":"{token}"}}', "null", padding(random))
    yield begin + choice % ("{}", '"stop"', padding(random))
    usage = '{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}'
    yield begin + f'[],"usage":{usage},"obfuscation":"{padding(random)}"}}'


def openai_responses(tokens, random):
    """As api.openai.com streams a response: each event has its number."""
    begin = '{"type":"response.created","sequence_number":0,"response":{"id":"r","output":[]}}'
    yield begin
    for number, token in enumerate(tokens, 4):
        yield (
            f'{{"type":"response.output_text.delta","sequence_number":{number},"item_id":"msg_1",'
            f'"output_index":0,"content_index":0,"delta":"{token}","logprobs":[],'
            f'"obfuscation":"{padding(random)}"}}'
        )


ODD_EVENTS = [
    '{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":"length"}]}',
    '{"choices":[{"index":1,"delta":{"content":"%s"}}]}',
    '{"error":{"message":"%s"}}',
    "%s",
]


def test_streams_of_openai_are_shortened_to_what_they_add_up_to():
    """Padding and numbers differ from event to event; an event that is otherwise odd stays one."""
    with Taken() as note:

        @given(st.sampled_from([openai_chat, openai_responses]), TOKENS, st.integers(0, 2**40))
        def check(made, tokens, seed):
            random = Random(seed)
            events = [event.encode() for event in made(tokens, random)]
            for _ in range(random.choice([0, 0, 1, 2])):
                at = random.randrange(len(events))
                how = random.choice(["odd", "word", "cut", "twice", "other"])
                if how == "odd":
                    events.insert(at, (random.choice(ODD_EVENTS) % "x").encode())
                elif how == "word":  # what differs is no word, or belongs elsewhere
                    events[at] = events[at].replace(
                        b'"obfuscation":"', b'"obfuscation":"' + random.choice([b"\\", b'","x":"', b" "])
                    )
                elif how == "cut":
                    events[at] = events[at][: random.randrange(len(events[at]))]
                elif how == "twice":
                    events.insert(at, events[at])
                else:
                    events[at] = events[at].replace(b'_index":0', b'_index":1').replace(b"null", b"0")
            short = shortened(events)
            note(2 * len(short) < len(events))
            assert put_together(short) == put_together(events)

        check()
