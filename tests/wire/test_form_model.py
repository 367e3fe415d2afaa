"""The model of a multipart form, however the form is cut and spelled."""

import random

import pytest

from openai_proxy.wire.form_model import FIRST_BYTES, FormModel, boundary_of

HEAD = b'--xXx\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
END = b"--xXx--\r\n"
FILE = HEAD % (b"file", b'; filename="a.wav"\r\nContent-Type: audio/wav', b"RIFF" + bytes(1000))


def field(name, value):
    return HEAD % (name, b"", value)


def read(data, *cuts):
    form = FormModel(b"xXx")
    at = 0
    for cut in (*sorted(cuts), len(data)):
        form.feed(data[at:cut])
        at = cut
    return form


@pytest.mark.parametrize(
    ("data", "models"),
    [
        (field(b"model", b"whisper-1") + FILE + END, ["whisper-1"]),
        (field(b"language", b"en") + field(b"model", b"whisper-1") + FILE + END, ["whisper-1"]),
        (FILE + field(b"model", b"whisper-1") + END, ["whisper-1"]),
        (FILE + END, []),
        (field(b"prompt", b'name="model"\r\n\r\nx') + FILE + END, []),
        (field(b"Model", b"a") + field(b"model", b"b") + END, ["a", "b"]),
        (field(b"model", b"") + END, [""]),
        (field(b"model", b"a\r\n") + END, ["a\r\n"]),
        (field(b"models[]", b"a") + END, ["a"]),
        (b"--xXx\ncontent-disposition:form-data;name=model\n\na\n--xXx--", ["a"]),
        (b'--xXx\r\nContent-Disposition: form-data;\r\n name = "model"\r\n\r\na\r\n--xXx--', ["a"]),
        (b"--xXx\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\na\r\n--xXx--", ["a"]),
        (b'--xXx\r\nContent-Disposition: form-data; name="x"; name="model"\r\n\r\na\r\n--xXx--', ["a"]),
        (b'--xXx\r\nContent-Disposition: form-data; name="mo\\del"\r\n\r\na\r\n--xXx--', ["a"]),
        *[
            (b"--xXx\r\nContent-Disposition: form-data" + name + b"\r\n\r\na\r\n--xXx--", ["a"])
            for name in (
                b'; name*0="mo"; name*1="del"',
                b'; name*1="del"; name*0="mo"',
                b"; name*0*=utf-8''m%6F; name*1=del",
                b"; name*=utf-8''%6dodel",
                b"; name=\"prompt\"; name*=utf-8''%6dodel",
                b'; name="=?utf-8?q?model?="',
                b'; name="=?utf-8?b?bW9kZWw=?="',
                b'; name="%6dodel"',
                b"; name='model'",
                b'; name="model[0]"',
                b'; name="[model]"',
                b'; name="model."',
                b' name="model"',
                b', name="model"',
                b"; x=y, name=model",
                b'\rContent-Disposition: form-data; name="model"',
            )
        ],
        (field(b"model_size", b"a") + field(b"remodel", b"b") + END, []),
        (END + field(b"model", b"late") + END, ["late"]),
        (b"a preamble\r\n" + field(b"model", b"a") + END, ["a"]),
    ],
)
def test_every_model_of_a_form_is_found(data, models):
    """Whole, byte by byte and in random pieces."""
    dice = random.Random(7)
    cuts = [(), range(1, len(data)), *([dice.randrange(len(data)) for _ in range(9)] for _ in range(30))]
    for each in cuts:
        form = read(data, *each)
        assert form.models == models
        assert form.readable


@pytest.mark.parametrize(
    "data",
    [
        HEAD % (b"model", b'; filename="m"', b"a") + END,
        HEAD % (b"model", b"\r\nContent-Transfer-Encoding: base64", b"YQ==") + END,
        field(b"model", b"a" * 5000) + END,
        b"--xXx\r\nContent-Disposition: form-data" + b"; x=y" * 5000,
    ],
)
def test_what_no_model_can_be_read_of_is_unreadable(data):
    """A field that is a file, in a coding, or too long."""
    assert not read(data).readable
    assert not read(data, *range(0, len(data), 7)).readable


def test_it_decides_as_soon_as_it_can():
    """At the model, at the file, or after 64 KiB; and it holds little meanwhile."""
    form = FormModel(b"xXx")
    form.feed(field(b"language", b"en"))
    assert not form.decided
    form.feed(FILE[:200])
    assert form.decided
    form = FormModel(b"xXx")
    form.feed(HEAD[:-4] % (b"prompt", b"") + bytes(FIRST_BYTES // 2))
    assert not form.decided
    form.feed(bytes(FIRST_BYTES // 2))
    assert form.decided
    assert len(form._buffer) < 100


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"multipart/form-data; boundary=xXx"], b"xXx"),
        ([b'Multipart/Form-Data; charset=utf-8; Boundary="x X"; '], b"x X"),
        ([b'multipart/form-data;boundary="----=_Part_0_1.2"'], b"----=_Part_0_1.2"),
        (
            [b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk"],
            b"----WebKitFormBoundary7MA4YWxk",
        ),
        ([b'multipart/form-data; boundary="x\\"X"'], None),
        ([b'multipart/form-data; boundary="a"b'], None),
        ([b"multipart/form-data; boundary=a=b"], None),
        ([b"multipart/form-data; boundary=a b"], None),
        ([b"multipart/form-data; boundary=a,b"], None),
        ([b"multipart/form-data; boundary=a; boundary*=utf-8''b"], None),
        ([b"multipart/form-data; boundary*0=a; boundary*1=b"], None),
        ([b'multipart/form-data; x="; boundary=a"; y'], None),
        ([b"multipart/form-data"], None),
        ([b"multipart/form-data; boundary=a; boundary=b"], None),
        ([b"multipart/form-data; boundary=a", b"multipart/form-data; boundary=b"], None),
        ([b"multipart/form-data; boundary="], None),
        ([b"application/json; boundary=a"], None),
        ([], None),
    ],
)
def test_the_boundary_is_the_only_one(lines, expected):
    """Two boundaries are none, nor is one that parsers read differently: servers may take either."""
    assert boundary_of(lines) == expected
