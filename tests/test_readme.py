"""The README is short, and its commands are what the gate and newcomers run."""

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(name):
    """Return what stands in the README between two markers, without the fences of a code block."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found, f"README.md has no part marked {name!r}"
    return [line for line in found[1].splitlines() if line and not line.startswith("```")]


def test_the_readme_is_short():
    """What is longer stands in docs/."""
    assert len(README.splitlines()) <= 180


@pytest.mark.parametrize("name", ["run-command", "test-command"])
def test_what_sets_up_and_runs_is_one_command(name):
    """One line is all that a newcomer copies."""
    (line,) = marked(name)
    assert line.startswith("scripts/setup")


def test_the_image_is_made_of_what_the_build_context_has():
    """Everything that the distribution is built from passes .dockerignore."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    assert {"openai_proxy", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= kept
    assert all((ROOT / name).exists() for name in kept)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [name for names in config["options.data_files"].values() for name in names.split()]
    wanted += config["metadata"]["license_files"].split()
    assert [
        name for name in wanted if not any(name.startswith(f"{each}/") or name == each for each in kept)
    ] == []


def test_the_changelog_says_nothing_twice():
    """A merge of two branches that both wrote to it has not brought back lines that were reworded."""
    changes = re.findall(
        r"(?m)^- (.{30})", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n### Added")[2]
    )
    assert sorted({each for each in changes if changes.count(each) > 1}) == []
