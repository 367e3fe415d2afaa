"""Real agents and SDKs, each as one call: run it against a base URL, and return what its user saw."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from world.sdk_sessions import Seen

HERE = Path(__file__).resolve().parent
PATIENCE_S = 120

CODEX = {
    "codex": 'model = "gpt-agent"\nopenai_base_url = "{base}"\n',
    "codex-custom": """model = "gpt-agent"
model_provider = "proxy"
[model_providers.proxy]
name = "openai-proxy"
base_url = "{base}"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
supports_websockets = true
""",
    "codex-http": """model = "gpt-agent"
model_provider = "proxy"
[model_providers.proxy]
name = "openai-proxy"
base_url = "{base}"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
""",
}
"""The configuration of Codex: its own provider, and providers of ours with and without WebSockets."""


def codex(
    kind: str, base: str, key: str, program: Path, *, runs: int = 1, task: str = "Count for me"
) -> Seen:
    """Give Codex a task, `runs` times in one session: by default one of two model calls with a command between them."""
    seen = Seen()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        work = Path(name) / "work"
        home.mkdir()
        work.mkdir()
        (home / "config.toml").write_text('web_search = "disabled"\n' + CODEX[kind].format(base=base))
        env = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        env |= {"HOME": str(home), "CODEX_HOME": str(home), "OPENAI_API_KEY": key, "CODEX_API_KEY": key}
        for number in range(runs):
            command = [program, "exec", *(["resume", "--last"] if number else [])]
            command += ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", task]
            done = subprocess.run(
                command,
                cwd=work,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
            seen.text += done.stdout + done.stderr
            seen.turns += done.returncode == 0
            if done.returncode:
                seen.errors += [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
                    done.stderr[-500:]
                ]
    return seen


def node(kind: str, base: str, key: str, turns: int, package: Path, **more: str) -> Seen:
    """Run openai's library for Node: `lanes`, `restarts`, `realtime` or `web`; `more` goes into its environment."""
    env = {
        **os.environ,
        "AGENT_BASE": base,
        "AGENT_KEY": key,
        "AGENT_TURNS": str(turns),
        "OPENAI_NODE": str(package),
    }
    env |= more
    done = subprocess.run(
        ["node", HERE / "agent_lanes.mjs", kind], env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    if done.returncode:
        return Seen(errors=[done.stderr[-2000:]], text=done.stderr)
    report = json.loads(done.stdout)
    errors = [f"{each['code']}: {each['message']}" for each in report["errors"]]
    return Seen(report["turns"], errors, done.stdout, report["reconnected"], report["cut"])
