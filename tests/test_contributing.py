"""What a newcomer reads is true: paths, commits, templates, decisions."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [page for page in DECISIONS if page.name != "README.md"]
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def commits(text):
    """Return (prefix of the hash, subject) of each commit that a text shows."""
    return re.findall(r"(?m)^(?:A commit: |- )`([0-9a-f]{7})` (.+)$", text)


def history():
    """Return the subject of each commit of this history by its prefix, empty if there is none or it is cut."""
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        return {}
    lines = git("log", "--format=%H %s").stdout.splitlines()
    return {line[:7]: line[41:] for line in lines}


def test_the_commits_that_are_shown_are_real():
    """Whoever asks git for one of them finds it (an archive without history can have any)."""
    subjects = history()
    shown = [each for page in [ROOT / "CONTRIBUTING.md", *PAGES] for each in commits(page.read_text("utf-8"))]
    assert len(shown) > 50
    assert [each for each in shown if subjects and subjects.get(each[0]) != each[1]] == []


def test_each_way_to_add_something_shows_a_commit():
    """A setting, a policy, an observer and a page each have an example."""
    parts = re.split(r"(?m)^### … (?:a|an) ", CONTRIBUTING)[1:]
    assert [part.split("\n")[0] for part in parts] == ["setting", "policy", "observer", "page"]
    assert [len(re.findall(r"(?m)^A commit: ", part)) for part in parts] == [1, 1, 1, 1]


def test_the_files_that_are_named_exist():
    """A stranger's question ends at a file that can be opened."""
    paths = re.findall(r"`([\w.]+/[\w./-]*)`", CONTRIBUTING)
    folders = (ROOT, ROOT / "openai_proxy")
    gone = {"web/", "stages/", "core/"}
    assert len(paths) > 30
    assert [
        each for each in paths if each not in gone and not any((at / each).exists() for at in folders)
    ] == []


def test_the_names_in_the_table_of_places_are_in_their_files():
    """A class or function that is named after a file exists in it."""
    named = re.findall(r"`(openai_proxy/[\w/]+\.py)` \(`(\w+)`", CONTRIBUTING)
    assert len(named) >= 3
    assert [each for each in named if each[1] not in (ROOT / each[0]).read_text(encoding="utf-8")] == []


def test_the_links_of_the_documents_lead_somewhere():
    """No relative link is broken."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [
        (document, link)
        for document in documents
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    ]
    assert len(links) > 20
    assert [each for each in links if not (each[0].parent / each[1]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_says_context_figures_and_consequences(page):
    """Each page has the same five parts, none of them empty."""
    title, *parts = re.split(r"(?m)^## ", page.read_text(encoding="utf-8"))
    assert title.startswith("# ")
    assert [part.partition("\n")[0] for part in parts] == [
        "Context",
        "Decision",
        "Figures",
        "Consequences",
        "Commits",
    ]
    assert all(part.partition("\n")[2].strip() for part in parts)


def test_the_index_has_every_decision():
    """By its title, and no more of them than somebody reads."""
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = {(name, title) for title, name in re.findall(r"\[(.+)\]\((.+)\)", index)}
    assert listed == {(page.name, page.read_text("utf-8").partition("\n")[0][2:]) for page in PAGES}
    assert 10 <= len(PAGES) <= 30


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.stem)
def test_the_templates_of_issues_are_forms(template):
    """GitHub shows a form if each element has a type and what that type needs."""
    form = yaml.safe_load(template.read_text(encoding="utf-8"))
    if template.stem == "config":
        assert all({"name", "url", "about"} == set(link) for link in form["contact_links"])
        return
    assert {"name", "description", "body"} <= set(form)
    for element in form["body"]:
        assert element["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert element["attributes"].get("value" if element["type"] == "markdown" else "label")
    ids = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(set(ids)) == len(ids)


def test_the_hooks_before_a_commit_run_what_the_gate_runs():
    """Each hook is local, and its tool is one that scripts/setup dev installs."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {"ruff-format", "ruff", "mypy", "codespell"} <= {hook["id"] for hook in hooks}
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"].split()[0] in gate
        assert re.compile(hook.get("files", "."))


def test_the_workflows_can_be_read():
    """A mistake in one would only be seen when it does not run."""
    workflows = [
        yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / ".github/workflows").glob("*.yml")
    ]
    assert workflows
    assert all(
        step.keys() & {"uses", "run"}
        for each in workflows
        for job in each["jobs"].values()
        for step in job["steps"]
    )
