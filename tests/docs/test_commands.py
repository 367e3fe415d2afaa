"""What the pages tell people to type works, and prints what they show."""

import re
from pathlib import Path

import pytest
from world.console import PORTS, TYPED, Block, Session, blocks, commands, differs
from world.fronts import require
from world.ports import HeldPort

ROOT = Path(__file__).parents[2]
PAGES = {
    page.relative_to(ROOT).as_posix(): blocks(page.read_text(encoding="utf-8"))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
PROGRAMS = ("curl", "jq", "openssl", "redis-server", "nginx", "caddy")
"""What pages may type beside what comes with every system; if one is missing, its pages are skipped, and fail in CI."""
MOCK = Block("sh", 0, "openai-proxy --upstream mock: --port tcp:8080:interface=127.0.0.1", ("daemon",))


def run(block):
    return block.language in TYPED and block.mark("not run") is None


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return the port of a proxy with the mock upstream that all pages share which start none."""
    held = HeldPort()
    session = Session(tmp_path_factory.mktemp("shared"), {"8080": str(held.number)})
    try:
        session.run(MOCK)
        yield session.ports["8080"]
        session.stop_daemons()
    finally:
        session.close()


@pytest.mark.parametrize("page", [name for name, found in PAGES.items() if any(map(run, found))])
def test_what_a_page_says_to_type_works(page, tmp_path, request):
    """Each block runs after the one above it, in one shell, and prints what the page shows below it."""
    typed = "\n".join(block.text for block in PAGES[page] if run(block))
    for program in PROGRAMS:
        if re.search(rf"\b{program}\b", typed):
            require(program)
    held = {name: HeldPort() for name in PORTS}
    ports = {name: str(each.number) for name, each in held.items()}
    starts = any(name.startswith("daemon") for block in PAGES[page] for name in block.marks)
    if not starts and any("8080" in block.text for block in PAGES[page] if run(block)):
        ports["8080"] = request.getfixturevalue("shared")
    session = Session(tmp_path, ports)
    try:
        for block in PAGES[page]:
            try:
                session.run(block)
            except (AssertionError, ValueError) as error:
                raise AssertionError(f"{page}, line {block.line}: {error}") from None
        session.stop_daemons()
    finally:
        session.close()


def test_what_is_not_run_says_why():
    """Nobody has to guess whether a command was forgotten."""
    reasons = [(page, block.line, block.mark("not run")) for page, found in PAGES.items() for block in found]
    assert [each for each in reasons if each[2] is not None and len(each[2]) < 10] == []


def test_a_page_that_is_wrong_is_found(tmp_path):
    """A command that fails, one that prints something else, and one that must fail but does not."""
    session = Session(tmp_path, {"8080": "12345"})
    try:
        session.run(Block("console", 1, "$ echo 8080 \\\n> and more\n8080 and ...\n$ export A=1"))
        session.run(Block("console", 1, '$ echo "$A" > a; cat a\n1'))
        session.run(Block("console", 1, "$ false", ("status: 1",)))
        for text, marks in [
            ("$ false\n$ true", ()),
            ("$ echo 1\n2", ()),
            ("$ true", ("status: 1",)),
            ("1", ()),
        ]:
            with pytest.raises((AssertionError, ValueError)):
                session.run(Block("console", 1, text, marks))
        session.run(Block("toml", 1, "# some/file.toml; a configuration\na = 8080"))
        session.run(
            Block("sh", 1, "# what follows is typed\ngrep -q 12345 \\\n  some/file.toml\n\ncat <<EOF\nx\nEOF")
        )
        session.run(Block("python", 1, "import openai_proxy\nprint('x')"))
    finally:
        session.close()


def test_blocks_are_found_wherever_they_stand():
    """In lists, below several comments; a comment belongs to the next block only."""
    page = "1. Do\n\n   <!-- a -->\n   <!-- status: 2 -->\n   ```console\n   $ x\n   ```\n<!-- b -->\n\ntext\n```sh\ny\n```\n"
    assert blocks(page) == [Block("console", 5, "$ x", ("a", "status: 2")), Block("sh", 11, "y")]
    assert blocks(page)[0].mark("status") == "2"
    assert [each.text for each in commands(Block("sh", 1, "a \\\n b\n# c\n\nd 'e\nf'"))] == [
        "a \\\n b",
        "d 'e\nf'",
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["...", "b"], ["b"], True),
        (["a", "..."], ["b"], False),
        (["a ... c"], ["a b c"], True),
        (["took 0.25s at 2026-11-30T01:02:03.004Z"], ["took 3s at 2027-01-01T01:02:03Z"], True),
        (["id=proxy-124b46df8a1a2a6b 127.0.0.1 200"], ["id=proxy-024b46df8a1a2a6b 127.0.0.1 200"], True),
        (["alice_gpt-5_20261130.jsonl"], ["alice_gpt-5_20270101.jsonl"], True),
        (["200 of 3"], ["201 of 3"], False),
    ],
)
def test_what_differs_each_time_is_not_compared(shown, printed, same):
    """Times, ids and durations; everything else is."""
    assert (differs(tuple(shown), printed) == "") is same
