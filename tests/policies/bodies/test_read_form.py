"""A form's model is noted; a key with rules names one only."""

import pytest
from fakes import Uploads, exchange, incoming, results_of, through

from openai_proxy.exchange.access_errors import ModelNotAllowed
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.errors import Overloaded, UnreadableBody
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
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


def run(
    *pieces,
    rules=LISTED,
    headers=(FORM,),
    endpoint="audio/transcriptions",
    encoded=False,
    forward=None,
    **options,
):
    """Return the request that went on, or the error; the rest of the body comes while it goes up, to `forward`."""
    body = incoming(complete=False)
    request = ProxyRequest(
        b"POST",
        b"/x",
        list(headers),
        body,
        exchange(credential_id="alice"),
        endpoint=endpoint,
        encoded=encoded,
    )
    forward = forward or Uploads()
    read_form = ReadForm(rules.callers, rules.allow_lists, **options)
    ended = results_of(through(read_form, request, forward))
    for piece in pieces:
        body.feed(piece)
    body.end()
    request.exchange.end(Outcome.COMPLETE, 1.0)
    return ended[0] or forward.requests[0]


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


BIG = [PART[:-2] % (b"file", b'; filename="a.mp3"', b""), *[bytes(60_000)] * 10, b"\r\n"]


@pytest.mark.parametrize("pieces", [(FILE, MODEL, END), (FILE + MODEL + END,), (*BIG, MODEL, END)])
@pytest.mark.parametrize(("rules", "routes"), [(LISTED, False), (PAID, False), (BodyRules(), True)])
def test_a_rule_waits_for_a_model_after_the_file(pieces, rules, routes):
    """OpenAI's own examples send the file first: keys with models were refused, and other upstreams never asked."""
    buffered, forward = BufferedBytes(1 << 20), Uploads()
    request = run(*pieces, rules=rules, routes=routes, buffered=buffered, forward=forward)
    assert (request.model, request.exchange.model) == ("whisper-1", "whisper-1")
    assert forward.sent.data == b"".join(pieces)
    assert buffered.held_bytes == 0


@pytest.mark.parametrize(
    ("pieces", "late"),
    [
        ((MODEL, *BIG, END), False),
        ((FILE, MODEL, END), False),
        ((*BIG, MODEL, END), True),
        ((b"".join([*BIG, MODEL, END]),), True),
    ],
)
def test_a_listed_model_must_come_early(pieces, late):
    """`limits.form_model_bytes`: however the form is cut; others are only held so long."""
    found = run(*pieces, fence_bytes=64 * 1024)
    assert isinstance(found, ModelNotAllowed) if late else found.model == "whisper-1"
    if late:
        assert "limits.form_model_bytes" in str(found.body())
    assert run(*pieces, rules=PAID, fence_bytes=64 * 1024).model == "whisper-1"


def test_nobody_waits_for_a_model_that_no_rule_needs():
    """It streams through; the books can wait."""
    buffered = BufferedBytes(0)
    request = run(*BIG, MODEL, END, rules=BodyRules(), buffered=buffered)
    assert (request.form_model, request.exchange.model) == (None, "whisper-1")


def test_so_much_of_a_form_is_held_at_most():
    """Behind a longer file it is not waited for."""
    for rules in (LISTED, BodyRules()):
        request = run(*BIG, MODEL, END, rules=rules, routes=True, limit_bytes=500_000)
        assert (request.form_model, request.exchange.model) == (None, "whisper-1")


def test_forms_that_find_no_room_are_not_held():
    """One whose model decides is told to come again; one that would only go elsewhere goes on."""
    options = {"routes": True, "buffered": BufferedBytes(500_000)}
    assert isinstance(run(*BIG, MODEL, END, rules=LISTED, **options), Overloaded)
    assert run(*BIG, MODEL, END, rules=BodyRules(), **options).form_model is None
    assert options["buffered"].held_bytes == 0


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
