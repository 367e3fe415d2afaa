"""A form goes up under another name of its model, however it comes."""

from itertools import pairwise

import pytest
from fakes import Sink, Source, exchange
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.iweb import UNKNOWN_LENGTH

from openai_proxy.downstream.body import IncomingBody
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.bodies.renamed_form import with_form_model
from openai_proxy.wire.form_model import FormModel

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF whisper-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
)


def asked(pieces, length=None):
    """Return a request whose body comes in these pieces, once its model has been found."""
    form = FormModel(b"b")
    body = IncomingBody(Source(), length, None)
    for piece in pieces:
        form.feed(piece)
        body.feed(piece)
    body.end()
    headers = [(b"Content-Length", b"%d" % length)] if length is not None else []
    request = ProxyRequest(b"POST", b"/x", headers, body, exchange())
    return request.evolve(form_model=form.models[0], form_span=form.span)


def sent(request):
    sink = Sink()
    request.body.startProducing(sink)
    return sink.data


@given(st.lists(st.integers(0, len(FORM))), st.sampled_from(["m", "org/whisper-large-v3", "whisper-2"]))
def test_only_the_model_differs(marks, name):
    """Cut anywhere; what stands in the file stays."""
    cuts = [0, *sorted(marks), len(FORM)]
    pieces = [FORM[a:b] for a, b in pairwise(cuts)]
    request = with_form_model(asked([piece for piece in pieces if piece]), name)
    head, _, tail = FORM.rpartition(b"whisper-1")
    assert sent(request) == head + name.encode() + tail
    assert request.model == name
    assert request.body.length is UNKNOWN_LENGTH


def test_its_length_is_announced():
    """A counted form stays counted."""
    request = with_form_model(asked([FORM], len(FORM)), "m")
    assert request.body.length == len(FORM) - 8 == len(sent(request))
    assert request.headers == [(b"Content-Length", b"%d" % (len(FORM) - 8))]


def test_it_may_be_sent_once_more():
    """As the body itself, if it is small."""
    request = with_form_model(asked([FORM], len(FORM)), "m")
    first = sent(request)
    assert request.body.rewindable
    request.body.stopProducing()
    assert request.body.rewind()
    assert sent(request) == first


@pytest.mark.parametrize("name", ["whisper-1", "m"])
def test_what_needs_no_other_name_stays_the_very_same(name):
    """The same name, or no place that is known."""
    request = asked([FORM])
    if name == "m":
        request = request.evolve(form_span=None)
    assert with_form_model(request, name) is request
