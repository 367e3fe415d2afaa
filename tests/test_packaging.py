"""The distribution: what is built, and whether it works where only it is installed."""

import email
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import openai_proxy

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.packaging, pytest.mark.slow]


def run(*command, cwd):
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is under version control or about to be: builds leave files behind."""
    folder = tmp_path_factory.mktemp("source")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        original = ROOT / name
        if original.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(original.read_bytes())
    return folder


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, cwd=source)
    return folder


def fresh_environment(folder, *install, cwd):
    venv.create(folder, with_pip=True)
    run(folder / "bin/python", "-m", "pip", "install", "-q", *install, cwd=cwd)
    return folder / "bin/twistd"


def check_command(twistd, cwd):
    """The command is found, has its help, and accepts its defaults."""
    assert "openai-proxy [options]" in run(twistd, "openai-proxy", "--help", cwd=cwd)
    assert run(twistd, "-n", "openai-proxy", "--check-config", cwd=cwd).startswith("mode: pass-through\n")
    command = twistd.with_name("openai-proxy")
    assert run(command, "check", cwd=cwd).startswith("mode: pass-through\n")
    version = run(command, "--version", cwd=cwd)
    assert version.startswith("openai-proxy ")
    assert run(twistd.with_name("python"), "-m", "openai_proxy", "--version", cwd=cwd) == version


def test_wheel_has_every_module_and_the_plugin(built):
    """Every package and the plugin are in the wheel; nothing of Twisted's own is."""
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "openai_proxy").rglob("*.py")}
    assert wanted <= names, wanted - names
    assert "openai_proxy/py.typed" in names
    assert [name for name in names if name.startswith("twisted/")] == [
        "twisted/plugins/openai_proxy_plugin.py"
    ]


def test_sdist_has_what_a_packager_needs(built):
    """The application file, the example and the licence are in the source distribution."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "openai_proxy.tac",
        "deploy/share/man/man1/openai-proxy.1",
        ".env.example",
        "LICENSE",
        "setup.cfg",
        "pyproject.toml",
    } <= names
    assert {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "THIRD-PARTY.md",
        "constraints.txt",
        "docs/explain/architecture.md",
        "docs/explain/security.md",
    } <= names
    assert any(name.startswith("tests/fuzz/corpus/requests/") for name in names)
    assert "twisted/plugins/openai_proxy_plugin.py" in names


def test_what_is_built_passes_the_checks_of_the_index(source, built):
    """The description renders, no metadata is missing, no stray file is in the wheel."""
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    run(sys.executable, "-m", "check_wheel_contents", *built.glob("*.whl"), cwd=source)


def test_the_wheel_says_what_it_is(built):
    """As an index shows it; the version is the package's."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
        (page,) = [each for each in archive.namelist() if each.endswith("/share/man/man1/openai-proxy.1")]
        assert archive.read(page) == (ROOT / "deploy/share/man/man1/openai-proxy.1").read_bytes()
    assert (metadata["Name"], metadata["Version"]) == ("twisted-openai-proxy", openai_proxy.__version__)
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert metadata["Description-Content-Type"] == "text/markdown"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    return fresh_environment(folder / "venv", wheel, cwd=folder)


def test_wheel_runs_in_an_empty_environment(installed, tmp_path):
    """Nothing but the wheel and what it asks for is needed to start."""
    check_command(installed, tmp_path)


HEAVY = {
    "adlfs",
    "fsspec",
    "azure-core",
    "azure-storage-blob",
    "opentelemetry-sdk",
    "genai-prices",
    "textual",
}
"""What only an extra brings."""


def test_the_core_is_light(installed, tmp_path):
    """No cloud's SDK, no telemetry, no terminal library comes with the proxy; each has its extra."""
    listed = json.loads(
        run(installed.with_name("python"), "-m", "pip", "list", "--format=json", cwd=tmp_path)
    )
    names = {each["name"].lower() for each in listed}
    assert "twisted-openai-proxy" in names
    assert names & HEAVY == set()
    assert len(names) < 50, sorted(names)


def test_the_example_installs_beside_it(installed, source, tmp_path):
    """An observer of one's own asks for the distribution by its name, and is found."""
    python = installed.with_name("python")
    example = source / "examples" / "openai-proxy-slow-requests"
    run(python, "-m", "pip", "install", "-q", example, cwd=tmp_path)
    checked = run(
        installed.with_name("openai-proxy"), "check", "-o", "slow:file=slow.txt:over_s=10", cwd=tmp_path
    )
    assert "slow:file=slow.txt:over_s=10" in checked


def test_editable_install_finds_the_plugin(source, tmp_path):
    """A developer's checkout works with pip install -e."""
    check_command(fresh_environment(tmp_path / "venv", "-e", source, cwd=tmp_path), tmp_path)
