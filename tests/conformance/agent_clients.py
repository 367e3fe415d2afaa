"""Real agents and SDKs, each as one call: run it against a base URL, and return what its user saw."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from attrs import define, field

HERE = Path(__file__).resolve().parent
LANES = 8
TURNS = int(os.environ.get("AGENT_TURNS", "3"))
"""Of each lane, and of a session of Realtime."""
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


@define
class Seen:
    """What a client's user saw."""

    turns: int = 0
    """Responses that ended well."""
    errors: list[str] = field(factory=list)
    text: str = ""
    """All that the client said."""


def codex(kind: str, base: str, key: str, program: Path, *, runs: int = 1) -> Seen:
    """Give Codex a task of two model calls with a command between them, `runs` times in one session."""
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
            command += ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Count for me"]
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


def node(kind: str, base: str, key: str, package: Path, **more: str) -> Seen:
    """Run openai's library for Node: `lanes`, `realtime` or `web`; `more` goes into its environment."""
    env = {**os.environ, "AGENT_BASE": base, "AGENT_KEY": key, "OPENAI_NODE": str(package), **more}
    done = subprocess.run(
        ["node", HERE / "agent_lanes.mjs", kind], env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    if done.returncode:
        return Seen(errors=[done.stderr[-2000:]], text=done.stderr)
    told = json.loads(done.stdout)
    return Seen(told["turns"], [f"{each['code']}: {each['message']}" for each in told["errors"]], done.stdout)


def python(kind: str, base: str, key: str, **more: str) -> Seen:
    """Run openai's library for Python: `lanes` or `realtime`; in a process of its own, as a program is."""
    env = {**os.environ, "OPENAI_BASE_URL": base, "OPENAI_API_KEY": key, **more}
    done = subprocess.run(
        [sys.executable, __file__, kind], env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    if done.returncode:
        return Seen(errors=[done.stderr[-2000:]], text=done.stderr)
    return Seen(**json.loads(done.stdout))


def _lanes() -> dict[str, Any]:
    import openai

    seen: dict[str, Any] = {"turns": 0, "errors": [], "text": ""}
    left = {f"lane-{number}": TURNS for number in range(LANES)}
    with openai.OpenAI(max_retries=0).responses.connect() as connection:

        def ask(lane: str, previous: str | None = None) -> None:
            more = {} if previous is None else {"previous_response_id": previous}
            connection.response.create(model="gpt-agent", input=f"turn of {lane}", stream_id=lane, **more)

        for lane in left:
            ask(lane)
        while left:
            event: Any = connection.recv()
            lane = getattr(event, "stream_id", None)
            if event.type == "error":
                seen["errors"].append(f"{event.error.code}: {event.error.message}")
                del left[lane]
            elif event.type == "response.completed":
                seen["turns"] += 1
                seen["text"] += event.response.output_text
                left[lane] -= 1
                if left[lane]:
                    ask(lane, event.response.id)
                else:
                    del left[lane]
    return seen


def _realtime() -> dict[str, Any]:
    import openai

    seen: dict[str, Any] = {"turns": 0, "errors": [], "text": ""}
    with openai.OpenAI(max_retries=0).realtime.connect(model="gpt-agent") as connection:
        connection.session.update(session={"type": "realtime", "model": "gpt-agent"})
        for _ in range(TURNS):
            content: Any = [{"type": "input_text", "text": "hi"}]
            connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            connection.response.create()
            for event in connection:
                if event.type == "error":
                    seen["errors"].append(f"{event.error.code}: {event.error.message}")
                    return seen
                if event.type == "response.done":
                    seen["turns"] += 1
                    break
    return seen


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"lanes": _lanes, "realtime": _realtime}[sys.argv[1]]()))
