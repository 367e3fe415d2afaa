"""What answers say that they made, learnt as they pass."""

import gzip
import itertools
import json

import pytest
from fakes import Reader, ReadyBody
from hypothesis import given
from hypothesis import strategies as st
from policies.routing.conversations import JSON, STREAM

from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.policies.routing.answer_watch import watched
from openai_proxy.policies.routing.state_names import digest

ITEM = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA1=="}
TOOL = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}
ANSWER = {"id": "resp_1", "object": "response", "output": [ITEM, TOOL], "metadata": {"id": "resp_echoed"}}
EVENTS = [
    {"type": "response.created", "response": {"id": "resp_1", "tools": [{"id": "echoed"}]}},
    {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "delta": 'response.output_item.done "encrypted_content":"no"',
    },
    {"type": "response.output_item.done", "item": ITEM},
    {"type": "response.output_item.done", "item": TOOL},
]
MADE = {digest(name) for name in (b"resp_1", b"rs_1", b"gAAAA1==", b"ci_1", b"cntr_1")}


def stream(named=True, end="\n"):
    lines = []
    for event in EVENTS:
        lines += ([f"event: {event['type']}"] if named else []) + [f"data: {json.dumps(event)}", ""]
    return b": hello\n\n" + "".join(line + end for line in lines).encode()


def learnt(headers, pieces, streaming=False):
    """Return what was learnt; fails if the bytes change, or if something is learnt after it has passed."""
    names, reader = [], Reader()
    response = watched(
        ProxyResponse(200, b"", headers, ReadyBody(*pieces, sized=False)), streaming, names.extend
    )
    response.body.deliverBody(reader)
    assert reader.data == b"".join(pieces)
    return set(names)


def cut(data, cuts):
    edges = [0, *sorted(at % len(data) for at in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@given(st.lists(st.integers(0, 5000), max_size=6), st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_streams_are_read_however_they_are_cut(cuts, named, end):
    """Whole, in a few pieces, with any line end, with names of events and without."""
    data = stream(named, end)
    assert learnt([STREAM], cut(data, cuts)) == MADE


def test_streams_are_read_byte_by_byte():
    """So are documents, and what is compressed."""
    assert learnt([STREAM], [bytes([byte]) for byte in stream()]) == MADE
    whole = json.dumps(ANSWER).encode()
    assert learnt([JSON], [bytes([byte]) for byte in whole]) == MADE
    packed = gzip.compress(stream())
    coding = (b"content-encoding", b"gzip")
    assert learnt([STREAM, coding], [bytes([byte]) for byte in packed]) == MADE
    assert learnt([JSON, coding], [gzip.compress(whole)]) == MADE


@pytest.mark.parametrize("kind", [JSON, STREAM])
def test_answers_that_are_there_whole_are_read_at_once(kind):
    """They stay whole: nothing is put around them."""
    names = []
    body = WholeBody(json.dumps(ANSWER).encode() if kind is JSON else stream())
    response = watched(ProxyResponse(200, b"", [kind], body), False, names.extend)
    assert response.body is body
    assert set(names) == MADE


def test_the_id_is_known_before_it_passes():
    """A client that uses it at once finds it known."""
    names = []

    class Eager(Reader):
        def dataReceived(self, data):
            super().dataReceived(data)
            assert (b"resp_1" not in self.data) or digest(b"resp_1") in names
            assert (not self.data.endswith(b"}")) or names

    for headers, data in (([STREAM], stream()), ([JSON], json.dumps(ANSWER).encode())):
        names.clear()
        body = ReadyBody(*cut(data, [30, 500]))
        watched(ProxyResponse(200, b"", headers, body), False, names.extend).body.deliverBody(Eager())
        assert set(names) == MADE


def test_broken_and_huge_answers_pass():
    """What cannot be read is not learnt, and goes on as it came."""
    assert learnt([JSON, (b"content-encoding", b"gzip")], [b"no gzip at all"]) == set()
    assert (
        learnt([STREAM], [b"event: response.output_item.done\ndata: {", b"x" * 3_000_000, b"\n\n", stream()])
        <= MADE
    )
    assert learnt([JSON], [b'{"id":"resp_1","x":"' + b"y" * 3_000_000, b'"}']) == {digest(b"resp_1")}
