"""What supervisor and workers say to each other arrives, and answers find their questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from workers.links import lose, pair

from openai_proxy.workers.link import Link, LinkLost, Refused


def outcome(deferred):
    """The result of a Deferred, or its exception; None while it waits."""
    results = []
    deferred.addBoth(lambda result: results.append(getattr(result, "value", result)))
    return results[0] if results else None


def test_messages_arrive_in_order():
    """Names lead to ears, values arrive as they were."""
    heard = []
    speaker, _ = pair(on_message={"a": lambda value: heard.append(("a", value)), "b": heard.append})
    speaker.send("a", {"x": (1, None)})
    speaker.send("b")
    assert heard == [("a", {"x": (1, None)}), None]


def test_answers_find_their_questions():
    """Also when the first question is answered last."""
    waiting = {}

    def ask(value):
        waiting[value] = Deferred()
        return waiting[value]

    speaker, _ = pair(on_request={"q": ask, "now": lambda value: value + 1})
    first, second = speaker.request("q", 1), speaker.request("q", 2)
    waiting[2].callback("two")
    assert (outcome(first), outcome(second)) == (None, "two")
    assert outcome(speaker.request("now", 41)) == 42


@pytest.mark.parametrize("answer", [lambda _: 1 / 0, lambda _: fail(ZeroDivisionError("division by zero"))])
def test_an_error_is_a_refusal_in_its_words(answer):
    """The asker gets the one line, not a traceback of another process."""
    speaker, _ = pair(on_request={"q": answer})
    error = outcome(speaker.request("q"))
    assert isinstance(error, Refused)
    assert str(error) == "division by zero"


def test_a_lost_link_answers_what_is_open_and_takes_no_more():
    """Nobody waits for a process that is gone."""
    calls = []
    speaker, listener = pair(on_request={"q": lambda _: Deferred()}, lost=lambda: calls.append("lost"))
    open_question = speaker.request("q")
    lose(speaker, listener)
    assert calls == ["lost"]
    assert isinstance(outcome(open_question), LinkLost)
    assert isinstance(outcome(speaker.request("q")), LinkLost)
    speaker.send("anything")
    assert speaker.transport.value() == b""


def test_an_answer_to_a_question_that_was_given_up_is_dropped():
    """A late worker disturbs nothing."""
    late = Deferred()
    speaker, _ = pair(on_request={"q": lambda _: late})
    question = speaker.request("q")
    question.addErrback(lambda _: None)
    question.cancel()
    late.callback("too late")


@given(st.lists(st.binary(max_size=300), max_size=5), st.data())
def test_messages_come_whole_however_the_bytes_are_cut(values, data):
    """A read may end anywhere."""
    speaker, _ = pair(on_message={"v": lambda _: None})
    speaker.transport.held = True
    for value in values:
        speaker.send("v", value)
    stream = speaker.transport.value()
    heard = []
    listener = Link({"v": heard.append}, {}, lambda: None)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        listener.dataReceived(stream[:size])
        stream = stream[size:]
    assert heard == values
