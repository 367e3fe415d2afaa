"""Thoughts are separated from the answer however the text is cut."""

import json
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.think.splitter import (
    THOUGHT,
    VISIBLE,
    ThinkRule,
    ThinkSplitter,
    joined,
    split_text,
)

TAGS = [
    ("<think>", "</think>"),
    ("[[R]]", "[[/R]]"),
    ("aab", "aa"),
    ("|", "||"),
    ("<t", "t>"),
    ("ab", "abab"),
]


@st.composite
def tagged_texts(draw):
    start, end = draw(st.sampled_from(TAGS))
    pieces = st.sampled_from([start, end, start[:-1], end[:-1], start[1:], "a", "b", " ", "\n", "é😀"])
    rule = ThinkRule(
        "strip",
        start,
        end,
        draw(st.booleans()),
        draw(st.sampled_from(["anywhere", "start"])),
        draw(st.booleans()),
    )
    return rule, draw(st.lists(pieces, max_size=10))


def reference(text, rule):
    """Split a whole text by regular expressions: the blocks at its start, then those that close later."""
    start, end = re.escape(rule.start_tag), re.escape(rule.end_tag)
    close = f"(?:{end}" + (r"\s*" if rule.trim else "") + r"|\Z)"
    visible, thoughts = "", ""
    if rule.implicit_start:
        opened = re.match(rf"\s*?{start}", text)
        first = (re.compile(rf"(\s*?){start}(.*?){close}" if opened else f"()(.*?){close}", re.DOTALL)).match(
            text
        )
        thoughts, text = first[1] + first[2], text[first.end() :]
    block = re.compile(rf"(\s*?){start}(.*?){close}", re.DOTALL)
    while found := block.match(text):
        visible, thoughts, text = visible + found[1], thoughts + found[2], text[found.end() :]
    if rule.where == "anywhere":
        later = re.compile(start + "(.*?)" + close.replace(r"|\Z", ""), re.DOTALL)
        thoughts += "".join(found[1] for found in later.finditer(text))
        text = later.sub("", text)
    return visible + text, thoughts


@given(tagged_texts())
def test_any_split_gives_the_reference(case):
    """Whole, in pieces or by characters: what regular expressions find in the whole text."""
    rule, pieces = case
    text = "".join(pieces)
    wanted = reference(text, rule)
    assert split_text(text, rule) == wanted
    for cut in (pieces, list(text)):
        splitter = ThinkSplitter(rule)
        found = [piece for each in cut for piece in splitter.feed(each)] + splitter.finish()
        assert (joined(found), joined(found, THOUGHT)) == wanted
        assert "".join(each for _, each in found) == text


@given(tagged_texts())
def test_only_a_partial_tag_and_what_is_in_doubt_are_held(case):
    """What cannot become a tag or a block goes out with the piece that brought it."""
    rule, pieces = case
    splitter = ThinkSplitter(rule)
    for piece in pieces:
        splitter.feed(piece)
        tag = rule.end_tag if splitter.state in ("thought", "doubt") else rule.start_tag
        assert tag.startswith(splitter.held)
        assert len(splitter.held) < len(tag)
        assert splitter.state == "doubt" or splitter.undecided == splitter.held


@given(tagged_texts(), st.integers(0, 12))
def test_what_is_in_doubt_is_bounded_however_it_is_cut(case, limit):
    """A later block that is too long is text, the same text for any split."""
    rule, pieces = case
    text = "".join(pieces)
    found = []
    for cut in ([text], pieces, list(text)):
        splitter = ThinkSplitter(rule, limit_chars=limit)
        got = [piece for each in cut for piece in splitter.feed(each)]
        assert len(splitter.undecided) <= len(rule.start_tag) + limit + len(rule.end_tag)
        got += splitter.finish()
        found.append((joined(got), joined(got, THOUGHT)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("text", "visible", "thoughts"),
    [
        ("<think>a</think> b", " b", "a"),
        ("a</think>b", "a</think>b", ""),
        ("<think>a<think>b</think>c", "c", "a<think>b"),
        ("a<think>b", "a<think>b", ""),
        ("Write <think> first. Done.", "Write <think> first. Done.", ""),
        ("a<think>b</think>c<think>d", "ac<think>d", "b"),
        ("<think>b", "", "b"),
        (" \n<think>b</th", " \n", "b</th"),
        ("a < b <thin", "a < b <thin", ""),
        ("<think></think><think>x</think>y", "y", "x"),
        ("<think>a</think>\n<think>cut", "\n", "acut"),
    ],
)
def test_documented_cases(text, visible, thoughts):
    """Lone end tags stay, a cut thought at the start goes, a later tag that never closes is text."""
    assert split_text(text, ThinkRule("strip")) == (visible, thoughts)


@pytest.mark.parametrize(
    ("text", "visible", "thoughts"),
    [
        ("a</think>b", "b", "a"),
        ("a", "", "a"),
        ("<think>a</think>b", "b", "a"),
        ("\n<think>\na</think>\nb <think>", "\nb <think>", "\n\na"),
        ("</think>b</think>", "b</think>", ""),
    ],
)
def test_texts_that_begin_inside_a_block(text, visible, thoughts):
    """If the prompt's template has the start tag, the text is a thought up to the end tag."""
    assert split_text(text, ThinkRule("strip", implicit_start=True)) == (visible, thoughts)


def test_blocks_at_the_start_only():
    """With `where` set so, a tag later in the text is text even if it closes, and is never held."""
    rule = ThinkRule("strip", where="start")
    assert split_text("<think>a</think> Use <think>b</think>.", rule) == (" Use <think>b</think>.", "a")
    splitter = ThinkSplitter(rule)
    assert splitter.feed("Use <thi") == [(VISIBLE, "Use <thi")]


def test_trim_takes_what_follows_a_block():
    """White space after a block goes, before it and elsewhere it stays."""
    rule = ThinkRule("strip", trim=True)
    assert split_text(" a <think>x</think> \n b ", rule) == (" a b ", "x")


@pytest.mark.parametrize("tag", ["<think>", "[/t]", "é", "\\t", '"q"', "\tt", "😀"])
def test_a_tag_is_found_however_it_is_escaped(tag):
    """Every way to write the tag in JSON is found by the search before the parse."""
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
