"""Other reverse proxies in front of a daemon, run from the recipes in `deploy/`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from world.services import ServiceProcess
from world.waiting import PATIENCE_S, eventually

DEPLOY = Path(__file__).parents[2] / "deploy"


def require(program: str, package: str | None = None) -> str:
    """Return the path of a program; skip if there is none, fail in CI."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed, and CI must run these tests")
        pytest.skip(f"{program} is not installed (apt-get install {package or program})")
    return path


def environment_of(recipe: Path) -> dict[str, str]:
    """Return the variables that a recipe's first comment wants the proxy to have."""
    return dict(re.findall(r"^#   ([A-Z_]+)=(.+)$", recipe.read_text(encoding="utf-8"), re.MULTILINE))


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Return a recipe with these texts replaced; each of them must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Front(ServiceProcess):
    """A reverse proxy with TLS on a port of loopback; `certificate` is a pair of PEM files."""

    program = ""
    recipe: Path
    hides_cuts = False
    """Whether it ends a stream that was cut off as if it were whole."""

    def __init__(self, directory: Path, certificate: tuple[Path, Path], backend: int) -> None:
        self._path = require(self.program)
        self._directory = directory
        super().__init__()
        self._write(directory, certificate, backend)

    def _write(self, directory: Path, certificate: tuple[Path, Path], backend: int) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it listens."""
        environment = {**os.environ, "HOME": str(self._directory)}
        with self._output.open("ab") as output:
            self._run(self._command(), cwd=self._directory, stdout=output, stderr=output, env=environment)
        assert eventually(lambda: self._listens() or self._ended, PATIENCE_S), self.output
        assert not self._ended, self.output

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    @property
    def _output(self) -> Path:
        return self._directory / "output"

    @property
    def output(self) -> str:
        """What it said so far."""
        return self._output.read_text(errors="replace")

    @property
    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Nginx(Front):
    """A real nginx; the recipe is included as Debian's nginx.conf includes conf.d."""

    program = "nginx"
    recipe = DEPLOY / "nginx" / "openai-proxy.conf"

    def _write(self, directory: Path, certificate: tuple[Path, Path], backend: int) -> None:
        chain, key = certificate
        live = "/etc/letsencrypt/live/proxy.example"
        recipe = replaced(
            self.recipe.read_text(encoding="utf-8"),
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("    listen [::]:443 ssl http2;\n", ""),
            (f"{live}/fullchain.pem", str(chain)),
            (f"{live}/privkey.pem", str(key)),
            ("127.0.0.1:8080", f"127.0.0.1:{backend}"),
        )
        (directory / "recipe.conf").write_text(recipe)
        kept = "".join(
            f"{name}_temp_path {directory}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (directory / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''}\npid {directory}/pid;\nevents {{}}\n"
            f"http {{\n{kept}access_log {directory}/access;\ngzip on;\ninclude recipe.conf;\n}}\n"
        )

    def _command(self) -> list[str]:
        return [
            self._path,
            "-p",
            str(self._directory),
            "-e",
            "output",
            "-c",
            "nginx.conf",
            "-g",
            "daemon off;",
        ]


class Caddy(Front):
    """A real Caddy; only the certificate, which it would fetch, and its own files are others."""

    program = "caddy"
    recipe = DEPLOY / "caddy" / "Caddyfile"

    @property
    def hides_cuts(self) -> bool:  # type: ignore[override]
        """A fault of Caddy's before 2.8, which Debian 12 has; the recipe's first lines name it."""
        said = subprocess.run([self._path, "version"], capture_output=True, text=True, check=True).stdout
        major, minor = re.findall(r"\d+", said)[:2]
        return (int(major), int(minor)) < (2, 8)

    def _write(self, directory: Path, certificate: tuple[Path, Path], backend: int) -> None:
        chain, key = certificate
        recipe = replaced(
            self.recipe.read_text(encoding="utf-8"),
            (
                "\nproxy.example {\n",
                f"\nhttps://localhost:{self.port}, https://proxy:{self.port} {{\n\tbind 127.0.0.1\n\ttls {chain} {key}\n",
            ),
            ("127.0.0.1:8080", f"127.0.0.1:{backend}"),
        )
        own = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {directory}/storage\n}}\n"
        (directory / "Caddyfile").write_text(own + recipe)

    def stop(self) -> None:
        """End it at once: it would wait for the connections that it keeps."""
        self.kill()

    def _command(self) -> list[str]:
        return [self._path, "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
