"""Thoughts are told apart from the answer however the text is cut."""

import json
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.think import ThinkRule, ThinkSplitter, split_text

TAGS = [("<think>", "</think>"), ("[[R]]", "[[/R]]"), ("aab", "aa"), ("|", "|"), ("<t", "t>")]
tags = st.sampled_from(TAGS)
rules = st.tuples(tags, st.booleans())


@st.composite
def tagged_texts(draw):
    (start, end), trim = draw(rules)
    pieces = st.sampled_from([start, end, start[:-1], end[:-1], start[1:], "a", "b", " ", "\n", "é😀"])
    return ThinkRule("strip", start, end, trim), draw(st.lists(pieces, max_size=10))


def reference(text, rule):
    """Split a whole text by a regular expression."""
    block = (
        re.escape(rule.start_tag)
        + "(.*?)(?:"
        + re.escape(rule.end_tag)
        + (r"\s*" if rule.trim else "")
        + r"|\Z)"
    )
    pattern = re.compile(block, re.DOTALL)
    return pattern.sub("", text), "".join(found[1] for found in pattern.finditer(text))


@given(tagged_texts())
def test_any_split_gives_the_reference(case):
    """Whole, in pieces or by characters: what a regular expression finds in the whole text."""
    rule, pieces = case
    text = "".join(pieces)
    wanted = reference(text, rule)
    assert split_text(text, rule) == wanted
    for cut in (pieces, list(text)):
        splitter = ThinkSplitter(rule.start_tag, rule.end_tag, rule.trim)
        found = [splitter.feed(piece) for piece in cut] + [splitter.finish()]
        assert ("".join(v for v, _ in found), "".join(t for _, t in found)) == wanted


@given(tagged_texts())
def test_only_a_partial_tag_is_held(case):
    """What can not become a tag goes out with the piece that brought it."""
    rule, pieces = case
    splitter = ThinkSplitter(rule.start_tag, rule.end_tag)
    for piece in pieces:
        splitter.feed(piece)
        tag = rule.end_tag if splitter.inside else rule.start_tag
        assert tag.startswith(splitter.held)
        assert len(splitter.held) < len(tag)


@pytest.mark.parametrize(
    ("text", "visible", "thoughts"),
    [
        ("<think>a</think> b", " b", "a"),
        ("a</think>b", "a</think>b", ""),
        ("<think>a<think>b</think>c", "c", "a<think>b"),
        ("a<think>b", "a", "b"),
        ("a < b <thin", "a < b <thin", ""),
        ("<think></think><think>x</think>y", "y", "x"),
    ],
)
def test_documented_cases(text, visible, thoughts):
    """Lone end tags stay, an unclosed block goes, white space stays."""
    assert split_text(text, ThinkRule("strip")) == (visible, thoughts)


def test_trim_takes_what_follows_a_block():
    """White space after a block goes, before it and elsewhere it stays."""
    rule = ThinkRule("strip", trim=True)
    assert split_text(" a <think>x</think> \n b ", rule) == (" a b ", "x")


@pytest.mark.parametrize("tag", ["<think>", "[/t]", "é", "\\t", '"q"', "\tt", "😀"])
def test_a_tag_is_found_however_it_is_escaped(tag):
    """Every way to write the tag in JSON is told by the search in front of the parse."""
    rule = ThinkRule("strip", tag)
    spelt = [
        orjson.dumps("a" + tag),
        json.dumps("a" + tag).encode(),
        b'"a' + "".join(f"\\u{ord(c):04x}" for c in tag if ord(c) < 0x10000).encode() + b'"',
        json.dumps("a" + tag, ensure_ascii=False).replace("/", "\\/").encode(),
    ]
    assert all(rule.may_begin_in(text) for text in spelt if text != b'"a"')
    assert not rule.may_begin_in(b"a plain text")


def test_line_breaks_are_no_sign_of_a_tag():
    """An answer of several lines is not taken apart for a tag that no short escape could write."""
    assert not ThinkRule("strip").may_begin_in(b'"two\\nlines \\"quoted\\""')
    assert ThinkRule("strip", "/think").may_begin_in(b'"two\\nlines"')
