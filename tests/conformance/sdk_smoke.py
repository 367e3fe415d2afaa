"""Real clients through the daemon against mock servers that others wrote.

    python3 tests/conformance/sdk_smoke.py [python node curl langchain websocket ...] [--direct]

Without a name: all. Makes an environment of its own in CONFORMANCE_DIR (the
openai SDKs, langchain-openai, the mock servers aimock, mock-ai-api and, if
OPENAPI_SPEC names the OpenAPI description, Steady), starts each mock and one
daemon before it (TWISTD, default .venv/bin/twistd of this checkout), and runs
the checks with and without /v1 in the base URL. --direct leaves the daemon out
and tells what the mocks themselves do not do. Exit 0 only if all passed.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = Path(
    os.environ.get("CONFORMANCE_DIR") or Path(tempfile.gettempdir()) / "openai-proxy-conformance"
).resolve()
TWISTD = Path(os.environ.get("TWISTD") or HERE.parents[1] / ".venv" / "bin" / "twistd")
SETS = ("python", "langchain", "websocket", "node", "curl")
PYTHON_PACKAGES = [
    "openai[realtime]==3.3.1",
    "langchain-openai==1.7.3",
    "mock-ai-api==0.1.1",
    "websockets>=15",
]
NODE_PACKAGES = ["@copilotkit/aimock@1.43.0", "openai@7.55.0", "@stdy/cli@0.22.2"]


def install() -> None:
    """Make the environments if they are missing."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "sdk-venv" / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "sdk-venv"], check=True)
        subprocess.run([WORK / "sdk-venv/bin/pip", "install", "-q", *PYTHON_PACKAGES], check=True)
        (WORK / "sdk-venv" / "done").touch()
    if not (WORK / "sdk-node" / "done").exists():
        (WORK / "sdk-node").mkdir(exist_ok=True)
        npm = ["npm", "install", "--silent", "--prefix", WORK / "sdk-node", *NODE_PACKAGES]
        subprocess.run(npm, check=True)
        (WORK / "sdk-node" / "done").touch()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Servers:
    """Starts servers, waits until they answer, and ends them."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, argv: list[object], port: int, env: dict[str, str] | None = None) -> str:
        """Start one; return its base URL (no /v1). Its output goes to NAME.log."""
        log = WORK / f"{name}.log"
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            cwd=WORK,
            env={**os.environ, **(env or {})},
        )
        self.started.append(process)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{name} did not start:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def start_mocks(self) -> dict[str, str]:
        """Start every mock; base URLs by the variable the checks read."""
        modules, port = WORK / "sdk-node" / "node_modules", free_port()
        aimock = modules / "@copilotkit" / "aimock" / "dist" / "cli.js"
        bases = {
            "AIMOCK_BASE": self.start(
                "aimock", ["node", aimock, "-p", port, "-f", HERE / "aimock_fixtures.json"], port
            )
        }
        port = free_port()
        uvicorn = [WORK / "sdk-venv/bin/python", "-m", "uvicorn", "app.openai_app:app", "--port", port]
        bases["MOCK_AI_BASE"] = self.start("mock-ai-api", uvicorn, port)
        if spec := os.environ.get("OPENAPI_SPEC"):
            data = Path(spec).read_bytes()
            text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
            (WORK / "sdk-spec.yml").write_text(re.sub(r"(?m)^  /", "  /v1/", text))
            port = free_port()
            steady = [modules / ".bin" / "steady", "--host", "127.0.0.1", "-p", port, "-q"]
            formats = [
                f"--validator-{what}-{kind}-format=brackets"
                for what in ("query", "form")
                for kind in ("array", "object")
            ]
            bases["STEADY_BASE"] = self.start("steady", [*steady, *formats, WORK / "sdk-spec.yml"], port)
        return bases

    def start_daemon(self, name: str, upstream: str) -> str:
        """Start the daemon, in pass-through mode, before one mock."""
        port = free_port()
        argv = [TWISTD, "-n", "--pidfile=", "openai-proxy", "--port", f"tcp:{port}:interface=127.0.0.1"]
        return self.start(f"daemon-{name.lower()}", argv, port, {"OPENAI_API_BASE": f"{upstream}/v1"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; default: all")
    parser.add_argument("--direct", action="store_true", help="leave the daemon out")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "CLIENT_API_KEYS"):
        os.environ.pop(name, None)
    if not shutil.which("npm"):
        raise SystemExit("node and npm are needed for the mock servers: install them first")
    install()
    servers = Servers()
    results: dict[str, int] = {}
    try:
        bases = servers.start_mocks()
        if options.direct:
            bases["ONLY_V1"] = "1"  # the mocks answer only under /v1
        else:
            bases = {name: servers.start_daemon(name, upstream) for name, upstream in bases.items()}
        env = {**os.environ, **bases, "OPENAI_NODE": str(WORK / "sdk-node" / "node_modules" / "openai")}
        for name in options.sets or SETS:
            checks = [str(WORK / "sdk-venv/bin/python"), str(HERE / "sdk_checks.py"), name]
            argv = {
                "node": ["node", str(HERE / "sdk_checks.mjs")],
                "curl": ["bash", str(HERE / "sdk_checks.sh")],
            }
            print(f"== {name}", flush=True)
            results[name] = subprocess.run(argv.get(name, checks), env=env).returncode
    finally:
        servers.stop()
    for log in WORK.glob("daemon-*.log"):
        if not options.direct and "Traceback" in log.read_text():
            print(f"FAIL a traceback in {log}")
            results[log.name] = 1
    failed = [name for name, code in results.items() if code]
    print(f"FAIL: {', '.join(failed)}" if failed else "PASS: every client works")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
