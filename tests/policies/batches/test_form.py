"""The form that uploads a batch's input file: read strictly, or not at all."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.batches.form import BatchForm

LINE = json.dumps({"url": "/v1/responses", "body": {"model": "m", "input": "hi"}}).encode()
OTHER = LINE.replace(b'"m"', b'"n"')


def part(name, value, more=b"", head=b""):
    return b'--xXx\r\n%bContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (head, name, more, value)


PURPOSE = part(b"purpose", b"batch")
FILE = part(b"file", LINE, b'; filename="in.jsonl"\r\nContent-Type: application/jsonl')
END = b"--xXx--\r\n"


def read(*pieces):
    form = BatchForm(b"xXx")
    for piece in pieces:
        form.feed(piece)
    return form.finish()


@pytest.mark.parametrize(
    "form",
    [
        PURPOSE + FILE + END,
        FILE + PURPOSE + END,
        PURPOSE + part(b"expires_after[anchor]", b"created_at") + FILE + END,
        PURPOSE + part(b"file", LINE, b"; filename=a; filename*=UTF-8''%c3%bc") + END.strip(),
        PURPOSE + part(b"file", LINE, b'; filename="a \\"b\\".jsonl"') + END,
        PURPOSE + part(b"file", LINE, b'; filename="a"', b"Content-Transfer-Encoding: binary\r\n") + END,
        part(b"note", b"") + PURPOSE + FILE + END,
    ],
)
def test_the_file_is_read_wherever_it_stands(form):
    """As SDKs, curl and the common libraries write their forms."""
    found = read(form)
    assert (found.problem, found.models, found.size_bytes) == (None, ["m"], len(LINE))
    assert read(*(bytes([byte]) for byte in form)) == found


NEARLY = LINE + b"\r\n--xX\r\n-"
FORM = PURPOSE + part(b"file", NEARLY, b'; filename="a"') + END


@given(st.lists(st.integers(0, len(FORM)), max_size=8))
def test_no_cut_changes_anything(cuts):
    """What looks like the beginning of a delimiter is the file's."""
    at = sorted({0, len(FORM), *cuts})
    found = read(*(FORM[first:end] for first, end in itertools.pairwise(at)))
    assert found.problem == "line 2 is no JSON object, or one of too many values"
    assert found.size_bytes == len(NEARLY)


@pytest.mark.parametrize(
    "form",
    [
        part(b"purpose", b"fine-tune") + FILE + END,
        part(b"purpose", b"Batch") + FILE + END,
        FILE + END,
        PURPOSE + END,
        PURPOSE + FILE,
        b"",
    ],
)
def test_other_uploads_are_none_for_a_batch(form):
    """Another purpose, no purpose, no file, cut off."""
    assert read(form) is None


@pytest.mark.parametrize(
    "form",
    [
        b"preamble\r\n" + PURPOSE + FILE + END,
        PURPOSE + FILE + END + PURPOSE,
        PURPOSE + FILE + END + b"x",
        PURPOSE + FILE + FILE + END,
        PURPOSE + PURPOSE + FILE + END,
        part(b"purpose", b"x" * 100) + FILE + END,
        PURPOSE + FILE.replace(b'"file"', b'"files"') + FILE + END,
        PURPOSE + FILE.replace(b'"file"', b'"file[]"') + FILE + END,
        PURPOSE + part(b"file", LINE) + END,
        part(b"purpose", b"batch", b'; filename="a"') + FILE + END,
        PURPOSE + FILE.replace(b"name=", b'name="note"; name=') + END,
        PURPOSE + FILE.replace(b"; filename", b"; name*=UTF-8''note; filename") + END,
        PURPOSE
        + FILE.replace(b"Content-Type:", b"Content-Disposition: form-data; name=a\r\nContent-Type:")
        + END,
        PURPOSE + FILE.replace(b"Content-Type:", b"Content-Transfer-Encoding: base64\r\nContent-Type:") + END,
        PURPOSE + FILE.replace(b"\r\nContent-Type", b"\r\n Content-Type") + END,
        PURPOSE + FILE.replace(LINE, LINE + b"\n--xXx--\n" + OTHER) + END,
        PURPOSE + FILE.replace(LINE, LINE + b"--xXx" + OTHER) + END,
        PURPOSE + FILE.replace(LINE, LINE + b"\r\n--xXx  \r\n" + OTHER) + END,
        PURPOSE + FILE.replace(LINE, LINE + b"\r\n--xXxy\r\n" + OTHER) + END,
        PURPOSE + FILE.replace(b"form-data", b"attachment") + END,
        PURPOSE + part(b"note", b"", b"; x=" + b"y" * 9000) + FILE + END,
        part(b"note", b"").replace(b"\r\n\r\n\r\n", b"\r\n\r\n") + PURPOSE + FILE + END,
        (PURPOSE + FILE + END).replace(b"\r\n", b"\n"),
    ],
)
def test_what_readers_take_in_different_ways_is_not_read(form):
    """A line that we do not see must not run."""
    assert read(form).problem == "its form can be read in more than one way"
    assert read(*(bytes([byte]) for byte in form)).problem == "its form can be read in more than one way"
