"""What the proxy is installed from, and how it is deployed: pinned, hashed, listed, locked in."""

import configparser
import re
import runpy
import subprocess
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILES = ("constraints.txt", "constraints-dev.txt", "constraints-build.txt", "constraints-sbom.txt")
PYTHONS = ("3.10.13", "3.11.9", "3.12.9", "3.13.3", "3.14.0")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def pins(name):
    """Return (package, version, marker or None, hashes) of each line of a file of constraints."""
    text = re.sub(r"#.*", "", read(name)).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if line.strip():
            requirement, *hashes = line.split(" --hash=")
            parsed = Requirement(requirement)
            (specifier,) = parsed.specifier
            assert specifier.operator == "==", line
            found.append((canonicalize_name(parsed.name), specifier.version, parsed.marker, hashes))
    return found


def environment(python, platform="linux"):
    return {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": platform,
        "os_name": "posix",
        "extra": "",
    }


def versions(name, python):
    """Return the version of each package that a Python gets on Linux."""
    chosen = [each for each in pins(name) if each[2] is None or each[2].evaluate(environment(python))]
    found = {package: version for package, version, _, _ in chosen}
    assert len(found) == len(chosen), "a package is pinned twice"
    return found


def requirements(*extras):
    """Return the requirements of setup.cfg, of the proxy itself and of these extras."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [
        config["options"]["install_requires"],
        *(config["options.extras_require"][each] for each in extras),
    ]
    return [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_named_by_its_hash(name):
    """And no host is named: the index is whoever installs' choice."""
    assert pins(name)
    for package, _, _, hashes in pins(name):
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", each) for each in hashes), package
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", read(name))


@pytest.mark.parametrize("python", PYTHONS)
def test_what_setup_cfg_wants_is_pinned(python):
    """For each Python that is tested, with every extra."""
    run, dev = versions("constraints.txt", python), versions("constraints-dev.txt", python)
    for wanted in requirements("all"):
        check(wanted, run, python)
    for wanted in requirements("all", "test", "dev"):
        check(wanted, dev, python)
    assert {package: dev[package] for package in run} == run
    assert not {"pip", "setuptools", "wheel", "pytest"} & set(run)
    assert "setuptools" in versions("constraints-build.txt", python)


def check(wanted, pinned, python):
    if wanted.marker is None or Marker(str(wanted.marker)).evaluate(environment(python)):
        assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, wanted


def test_the_next_major_of_twisted_is_not_taken_unseen():
    """Its year is its major version; what is private in it is used here."""
    (twisted,) = [each for each in requirements() if each.name == "Twisted"]
    assert "26.10.0" in twisted.specifier
    assert "27.1.0" not in twisted.specifier


def test_every_package_has_its_licence_in_the_list():
    """THIRD-PARTY.md is that of these constraints."""
    licences = runpy.run_path(str(ROOT / "scripts" / "licences.py"))
    listed = licences["rows"](read("THIRD-PARTY.md"))
    assert sorted(listed) == licences["pinned"]()
    assert all(listed.values())


def test_the_image_is_made_of_the_constraints():
    """By hash, without pip or setuptools in the end, for a user that is no name."""
    last = read("Dockerfile").rpartition("\nFROM ")[2]
    assert "--require-hashes -r constraints.txt" in read("Dockerfile")
    assert "pip uninstall" in last
    assert re.search(r"^USER 10001", last, re.MULTILINE)
    # OpenShift starts it as a user of its own choice, who must get into the working directory
    assert "chmod 755 /var/lib/openai-proxy" in last
    assert "pip install" not in last


def test_dependencies_have_a_layer_of_their_own_in_the_image():
    """A new version of the proxy moves its own files only."""
    _, dependencies, build, last = read("Dockerfile").split("\nFROM ")
    assert "COPY . ." not in dependencies
    assert "COPY . ." in build
    copied = re.findall(r"^COPY --from=(\w+) (\S+)", last, re.MULTILINE)
    assert copied == [("dependencies", "/opt/openai-proxy"), ("build", "/own/")]


@pytest.mark.parametrize("name", ["README.md", "Dockerfile", "deploy/compose.yaml"])
def test_recipes_publish_only_on_this_machine(name):
    """A port that Docker publishes goes past the firewall to the whole network."""
    published = re.findall(r"(?:-p |^ *- \")((?:[\d.]+:)?\d+:\d+)", read(name), re.MULTILINE)
    assert published or name == "README.md"
    assert [each for each in published if not each.startswith("127.0.0.1:")] == []


def test_setup_uses_the_constraints():
    """`scripts/setup`, which CI uses too; NEWEST=true is the weekly job's."""
    assert "--require-hashes" in read("scripts/setup")
    assert 'NEWEST: "true"' in read(".github/workflows/newest.yml")
    for script in ("setup", "pin", "sbom"):
        subprocess.run(["bash", "-n", str(ROOT / "scripts" / script)], check=True)


@pytest.mark.parametrize(
    "line",
    [
        "LimitCORE=0",
        "MemoryMax=2G",
        "TasksMax=256",
        "ProcSubset=pid",
        "SystemCallFilter=~@privileged @resources",
        "LoadCredential=openai-api-key:/etc/openai-proxy/openai-api-key",
        "Environment=OPENAI_API_KEY_FILE=%d/openai-api-key",
        "DynamicUser=yes",
        "RuntimeDirectory=openai-proxy",
        "ExecReload=/opt/openai-proxy/bin/openai-proxy reload $MAINPID",
    ],
)
def test_the_unit_is_locked_in(line):
    """And the check of the configuration comes before the reload."""
    unit = read("deploy/openai-proxy.service").splitlines()
    assert line in unit
    reloads = [each for each in unit if each.startswith("ExecReload=")]
    assert "--check-config" in reloads[0]
    assert reloads[1].endswith("reload $MAINPID")


def test_nothing_installs_a_strangers_distribution():
    """The name `openai-proxy` belongs to somebody else on the package index; ours is `twisted-openai-proxy`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    wrong = re.compile(r"""(?:pipx?|uv)\s[^\n]*install\s[^\n]*(?<![\w/.-])openai-proxy(?=[\s'"\[=<>~]|$)""")
    extra = re.compile(r"(?<![\w-])openai-proxy\[")
    found = []
    for name in listed.split("\0"):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".cfg", ".toml", ".sh", ".yml", ".yaml") and path.is_file():
            text = path.read_text(encoding="utf-8")
            found += [f"{name}: {match[0]}" for match in (*wrong.finditer(text), *extra.finditer(text))]
    assert found == []


def test_the_distribution_says_what_it_is():
    """What an index shows and searches."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    metadata = parser["metadata"]
    assert metadata["name"] == "twisted-openai-proxy"
    assert metadata["version"] == "attr: openai_proxy.__version__"
    assert {"description", "long_description", "license", "keywords", "classifiers"} <= set(metadata)
    assert "Typing :: Typed" in metadata["classifiers"]
    assert parser["options.entry_points"]["console_scripts"].strip().startswith("openai-proxy = ")


def test_every_package_is_listed():
    """A folder that setup.cfg does not name is in the checkout and not in the wheel."""
    listed = set(re.findall(r"(?m)^    (openai_proxy[\w.]*)$", (ROOT / "setup.cfg").read_text("utf-8")))
    folders = {path.parent for path in (ROOT / "openai_proxy").rglob("__init__.py")}
    assert {".".join(folder.relative_to(ROOT).parts) for folder in folders} == listed
