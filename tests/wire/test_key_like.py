"""What looks like a key is found wherever it stands, and nothing else is."""

import re

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from openai_proxy.wire.key_like import KEY_LIKE

PLAIN = re.compile(
    r"""\b(?:sk|pk|rk|ek|sess|xai|pplx|glpat|nvapi|xox[abeprs])-[A-Za-z0-9_.-]{6,}
    | \b(?:ek|gsk|hf|gh[opsur]|github_pat|r8|fw|whsec)_[A-Za-z0-9_]{8,}
    | \bAKIA[A-Z0-9]{8,}
    | \bAIza[A-Za-z0-9_-]{10,}
    | \b(?-i:eyJ)[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}
    | \b(?:Bearer|Basic)\s+[^\s,;"]+""",
    re.IGNORECASE | re.VERBOSE,
)
"""The same, written without regard to time."""

KEYS = [
    *("sk-proj-abc123", "PK-live_abc1", "rk-abcdef", "ek-abcdef", "sess-abcdef", "xai-abcdef", "pplx-abcdef"),
    *("glpat-abcdef", "nvapi-abcdef", "xoxb-abcdef", "xoxs-abcdef", "ek_abcdefgh", "gsk_abcdefgh"),
    *("hf_abcdefgh", "gho_abcdefgh", "ghr_abcdefgh", "github_pat_abcdefgh", "r8_abcdefgh", "fw_abcdefgh"),
    *("whsec_abcdefgh", "AKIAABCDEFGH", "akia12345678", "AIzaabcdefghij", "eyJabcdef", "eyJabcdef.ghi.jkl"),
    *("Bearer x", "bearer\tabc", "Basic dTpw", "\u017fk-abcdef", "s\u212a-abcdef", "Ba\u017fic abc"),
]
NOT_KEYS = [
    "ask-abcdef",
    "sk-abc",
    "eyjabcdef",
    "xoxz-abcdef",
    "ghx_abcdefgh",
    "Bearer",
    "task_abcdefgh",
    "é",
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_found(key):
    """Alone, in a sentence, and after what ends a word."""
    for before in ("", "the key ", "x=", "é ", "-"):
        found = KEY_LIKE.search(before + key + " is it")
        assert found is not None
        assert found[0] == key, before


@pytest.mark.parametrize("text", NOT_KEYS)
def test_other_words_stay(text):
    """Text that only resembles a key stays unchanged."""
    assert KEY_LIKE.search(text) is None


PIECES = st.sampled_from(
    [
        *(
            "sk",
            "SK",
            "\u017fk",
            "s\u212a",
            "sess",
            "xai",
            "xa\u0131",
            "xoxb",
            "ek",
            "gsk",
            "gho",
            "github_pat",
            "r8",
        ),
        *(
            "AKIA",
            "a\u212a\u0131a",
            "AIza",
            "eyJ",
            "eyj",
            "Bearer",
            "ba\u017fic",
            "-",
            "_",
            " ",
            "\n",
            ".",
            "é",
            "x",
        ),
        *("abcdefgh", "ABCDEFGH12"),
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_it_finds_what_the_plain_pattern_finds(text):
    """However the pattern is arranged for speed."""
    expected = [found.span() for found in PLAIN.finditer(text)]
    event("found" if expected else "nothing")
    assert [found.span() for found in KEY_LIKE.finditer(text)] == expected
