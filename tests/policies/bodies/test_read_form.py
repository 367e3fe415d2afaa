"""A form's model is noted; a key with rules names one only."""

import pytest
from fakes import Sink, Source, exchange, through
from twisted.internet.defer import Deferred

from openai_proxy.downstream.body import IncomingBody
from openai_proxy.exchange.errors import ModelNotAllowed, UnreadableBody
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.bodies.read_body import BodyRules
from openai_proxy.policies.bodies.read_form import ReadForm

PART = b'--xXx\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
MODEL = PART % (b"model", b"", b"whisper-1")
OTHER = PART % (b"model", b"", b"gpt-4o-transcribe")
FILE = PART % (b"file", b'; filename="a.wav"', b"RIFF")
END = b"--xXx--\r\n"
FORM = (b"Content-Type", b"multipart/form-data; boundary=xXx")
LISTED = BodyRules(callers=frozenset(["alice"]), allow_lists=frozenset(["alice"]))
PAID = BodyRules(callers=frozenset(["alice"]))


def run(*pieces, rules=LISTED, headers=(FORM,), endpoint="audio/transcriptions", encoded=False):
    """Return the request that went on, or the error; the rest of the body comes while it goes up."""
    body = IncomingBody(Source(), None, None)
    request = ProxyRequest(
        b"POST",
        b"/x",
        list(headers),
        body,
        exchange(credential_id="alice"),
        endpoint=endpoint,
        encoded=encoded,
    )
    ended = []

    async def forward(request):
        done = Deferred()
        body.startProducing(Sink()).addBoth(done.callback)
        await done
        return request

    through(ReadForm(rules.callers, rules.allow_lists), request, forward).addBoth(ended.append)
    for piece in pieces:
        body.feed(piece)
    body.end()
    return ended[0] if isinstance(ended[0], ProxyRequest) else ended[0].value


@pytest.mark.parametrize("rules", [LISTED, PAID, BodyRules()])
def test_the_model_before_the_file_is_the_requests(rules):
    """For rules, routing, records and prices."""
    request = run(MODEL, FILE, END, rules=rules)
    assert (request.model, request.exchange.model) == ("whisper-1", "whisper-1")


@pytest.mark.parametrize(("rules", "error"), [(LISTED, ModelNotAllowed), (PAID, UnreadableBody)])
@pytest.mark.parametrize(
    "pieces", [(MODEL, OTHER, FILE, END), (MODEL, FILE, OTHER, END), (MODEL, FILE, END, OTHER)]
)
def test_a_second_model_breaks_the_form(rules, error, pieces):
    """Some servers take the first of two fields, some the last."""
    assert isinstance(run(*pieces, rules=rules), error)
    assert run(*pieces, rules=BodyRules()).model == "whisper-1"


def test_a_model_behind_the_file_has_its_price_and_opens_no_fence():
    """The rules could not wait for it; the books can."""
    request = run(FILE, MODEL, END)
    assert (request.form_model, request.exchange.model) == (None, "whisper-1")


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": ()},
        {"encoded": True},
        {"endpoint": "files", "headers": (FORM,)},
        {"headers": (FORM, FORM)},
    ],
)
def test_what_is_no_form_with_a_model_is_left_alone(fields):
    """Files, other types, and forms in a coding, in which a gzip header may hold anything."""
    assert run(MODEL, FILE, END, **fields).form_model is None
