"""The pages are written alike: what each is for, plain words, lines that can be read and compared."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOUND = sorted((ROOT / "docs").rglob("*.md"))
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in FOUND}
NAMES = set(
    re.findall(
        r"\w+",
        """
        Aider Azure Azurite Bifrost Caddy Chromium Codex Compose Continue Deferred Docker Envoy Gateway Grafana GitHub
        HAProxy Kubernetes LangChain LiteLLM LlamaIndex Linux Node Open OpenAI OpenTelemetry OTel Portkey Prometheus
        PyPI Python Redis Responses Sphinx SQLite Twisted Unix Vercel WebSocket WebSockets WebUI Windows
        """,
    )
)
PACKAGE = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "openai_proxy").rglob("*.py"))
}
HABITS = (
    r"\bcan not\b|\bfor want of\b|\bgo(es)? before (what|a|the)\b|\"\"\"(So|At most so) (many|much|long)\b"
)
"""Each with plain words in its place: cannot, because there is no, takes precedence over, the most that."""
PATRONISING = r"\b(simply|just|easy|easily|easier|obviously|trivial|trivially|of course|clearly|basically)\b"


def prose(text):
    """Return (number, line) of what is neither code, nor a table, nor a comment."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(("```", "~~~")):
            inside = not inside
        elif not inside and not line.startswith(("|", "<!--")):
            yield number, line


def headings(text):
    return [
        re.sub(r"`[^`]*`|\[([^\]]*)\]\([^)]*\)", r"\1", line)
        for _, line in prose(text)
        if line.startswith("#")
    ]


def words_with_capitals(heading):
    """Return the words with a capital that neither begin the heading, or what follows a colon, nor are names."""
    clauses = [re.findall(r"[\w'-]+", clause) for clause in heading.lstrip("# 0123456789.").split(": ")]
    inner = [word.removesuffix("'s") for clause in clauses for word in clause[1:]]
    return [word for word in inner if word[0].isupper() and not word.isupper() and word not in NAMES]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_what_it_is_for(page):
    """One title, then a paragraph: a reader knows after three lines whether this is the page."""
    lines = [line for _, line in prose(PAGES[page]) if line.strip()]
    assert lines[0].startswith("# ")
    assert [line for line in lines[1:] if line.startswith("# ")] == []
    if not page.startswith("docs/decisions/"):  # those have a form of their own
        assert re.match(r"[\w`*\[(]", lines[1]), f"after the title: {lines[1]!r}"
        assert not re.match(r"[*-] |\d+\. ", lines[1])


@pytest.mark.parametrize("page", PAGES)
def test_headings_are_in_sentence_case(page):
    """Only the first word and names have capitals."""
    wrong = {each: words_with_capitals(each) for each in headings(PAGES[page])}
    assert {each: words for each, words in wrong.items() if words} == {}


@pytest.mark.parametrize("page", PAGES)
def test_nobody_is_told_that_it_is_easy(page):
    """For whom it is not, that is no help."""
    found = [
        (number, line)
        for number, line in prose(PAGES[page])
        if re.search(PATRONISING, re.sub(r"`[^`]*`", "", line), re.I)
    ]
    assert found == []


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *PAGES, *PACKAGE]
)
def test_words_are_plain(name):
    """As an engineer would say it aloud; a subject line of the history is quoted as it is."""
    text = PACKAGE.get(name) or (ROOT / name).read_text(encoding="utf-8")
    lines = re.sub(r"`[0-9a-f]{7}` .*", "", text).splitlines()
    assert [line for line in lines if re.search(HABITS, line)] == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_and_paragraphs_have_an_end(page):
    """A line of prose can be compared in a diff, a paragraph read in one breath."""
    long = [number for number, line in prose(PAGES[page]) if len(line) > 200]
    assert long == [], f"{page}: lines of more than 200 characters"
    paragraph = 0
    for number, line in prose(PAGES[page]):
        new = not line.strip() or re.match(r"\s*([-*] |\d+\. |#|>)", line)
        paragraph = (0 if not line.strip() else 1) if new else paragraph + 1
        assert paragraph <= 7, f"{page}, line {number}: a paragraph or item of more than 7 lines"


def anchors(text):
    """Return the names that GitHub gives to the headings of a page."""
    titles = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
        for _, line in prose(text)
        if line.startswith("#")
    ]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, "README.md", "CONTRIBUTING.md"])
def test_links_to_a_heading_find_it(page):
    """On GitHub; on the site Sphinx looks for them, by names that are not always the same."""
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", path.read_text(encoding="utf-8"))
    targets = [((path.parent / name) if name else path, anchor) for name, anchor in links]
    assert [each for each in targets if each[1] not in anchors(each[0].read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("heading", "found"),
    [
        ("## How To Run", ["To", "Run"]),
        ("## TLS and Redis: What is it", []),
        ("## OpenAI's API", []),
        ("# Docker", []),
    ],
)
def test_the_check_of_headings_finds_capitals(heading, found):
    """Names and acronyms are no mistakes."""
    assert words_with_capitals(heading) == found
