"""A release is made by a workflow that keeps no secret, from a tag that says what the package says."""

import configparser
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "release.py"))


def steps(job):
    return RELEASE["jobs"][job]["steps"]


def commands(job):
    return "\n".join(step.get("run", "") for step in steps(job))


def test_only_tags_make_a_release():
    """No branch, no pull request, nobody's click. (YAML reads `on` as true.)"""
    assert RELEASE[True] == {"push": {"tags": ["v*"]}}


def test_each_job_has_the_rights_it_needs_and_no_more():
    """What runs the tests cannot publish; what publishes runs nothing of the repository."""
    assert RELEASE["permissions"] == {}
    rights = {name: job["permissions"] for name, job in RELEASE["jobs"].items()}
    assert rights == {
        "build": {"contents": "read"},
        "publish": {"id-token": "write"},
        "release": {"contents": "write"},
    }
    assert RELEASE["jobs"]["publish"]["environment"] == "release"
    assert not any("run" in step for step in steps("publish"))
    assert not any(
        "checkout" in step.get("uses", "") for job in ("publish", "release") for step in steps(job)
    )
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text("utf-8")


def test_what_is_published_was_tested_and_checked():
    """In this order, and built once."""
    needs = {name: job.get("needs") for name, job in RELEASE["jobs"].items()}
    assert needs == {"build": None, "publish": "build", "release": "publish"}
    text = commands("build")
    order = [
        ".ci/run",
        "scripts/release.py",
        "-m build",
        "twine check",
        "check-wheel-contents",
        "scripts/sbom",
    ]
    positions = [text.index(each) for each in (*order, "sha256sum")]
    assert positions == sorted(positions)
    uploaded = {step["with"]["name"] for step in steps("build") if "upload-artifact" in step.get("uses", "")}
    downloaded = {
        step["with"]["name"]
        for job in ("publish", "release")
        for step in steps(job)
        if "download-artifact" in step.get("uses", "")
    }
    assert uploaded == downloaded == {"dist", "release"}


def test_nothing_that_others_choose_is_part_of_a_script():
    """The name of a tag is its pusher's text: it is a variable, never a piece of the shell's program."""
    assert [
        step["run"] for job in RELEASE["jobs"] for step in steps(job) if "${{" in step.get("run", "")
    ] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(path):
    """By the hash of their commit, with the version for readers: a tag can be moved."""
    used = re.findall(r"uses: (.+)", path.read_text("utf-8"))
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_the_version_stands_in_one_place():
    """setup.cfg, the docs and the command read it from there."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "openai_proxy/__init__.py").read_text("utf-8"))[1]
    wrong = [
        str(path.relative_to(ROOT))
        for path in (*(ROOT / "openai_proxy").rglob("*.py"), ROOT / "setup.cfg", ROOT / "docs/conf.py")
        if path != ROOT / "openai_proxy/__init__.py" and f'"{version}"' in path.read_text("utf-8")
    ]
    assert wrong == []


def test_no_index_is_named():
    """Where packages come from and go to is the choice of whoever installs or publishes."""
    hosts = r"(py[p]i\.org|python[h]osted|npm[j]s\.|[g]hcr\.io|[q]uay\.io|docker[.]io)"
    found = subprocess.run(["git", "grep", "-nIE", hosts], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, ""), found.stdout + found.stderr


# ---- scripts/release.py


def stopped(call, *arguments):
    with pytest.raises(SystemExit) as found:
        call(*arguments)
    return str(found.value)


def test_a_tag_is_the_version():
    """A tag on the wrong commit is no release."""
    check = SCRIPT["checked_version"]
    assert check("v0.2.0", '"""Doc."""\n\n__version__ = "0.2.0"\n') == "0.2.0"
    assert "the version" in stopped(check, "v0.2.1", '__version__ = "0.2.0"\n')
    assert "no __version__" in stopped(check, "v0.2.1", "")


def test_the_notes_are_the_chapter_of_the_version():
    """One that was not written stops the release."""
    text = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2027-01-01\n\n### Added\n\n- A.\n\n## [0.1.0]\n\n- B.\n"
    notes = SCRIPT["notes_of"]
    assert notes("0.2.0", text) == "### Added\n\n- A.\n"
    assert notes("0.1.0", text) == "- B.\n"
    assert "no chapter [0.3.0]" in stopped(notes, "0.3.0", text)
    assert "no chapter [0.2]" in stopped(notes, "0.2", text)


def test_the_addresses_of_the_project_are_those_of_the_repository():
    """A fork's package leads to the fork; the tree names none."""
    config = (ROOT / "setup.cfg").read_text("utf-8")
    changed = SCRIPT["with_urls"](config, "https://git.example/someone/openai-proxy", "v0.2.0")
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(changed)
    urls = dict(line.split(" = ") for line in parser["metadata"]["project_urls"].strip().splitlines())
    assert urls["Source"] == "https://git.example/someone/openai-proxy"
    assert urls["Changelog"] == "https://git.example/someone/openai-proxy/blob/v0.2.0/CHANGELOG.md"
    assert set(urls) == {"Source", "Documentation", "Changelog", "Issues", "Security"}
    parser.remove_option("metadata", "project_urls")
    before = configparser.ConfigParser(interpolation=None)
    before.read_string(config)
    assert parser == before
    for wrong in ("http://git.example/a/b", "https://git.example", "https://git.example/a\n    x = y"):
        assert "no address" in stopped(SCRIPT["with_urls"], config, wrong, "v0.2.0")
