"""Two gateways in wide use, LiteLLM and Portkey, with the set-up that their own documentation recommends for one core.

They parse and write every body anew and know many providers, which neither this
proxy nor nginx does: the figures say what a request through each costs, and not
that they do the same work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from contestants import PROXY_CORE, Certificates, Running, free_port, start

GATEWAYS = ("LiteLLM", "Portkey")
LITELLM_CONF = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "{base_url}", api_key: "sk-upstream"}}
litellm_settings: {{telemetry: false}}
general_settings: {{master_key: sk-benchmark, dangerously_permit_weak_or_unset_master_key: true}}
"""
START_S = 120
"""LiteLLM imports for half a minute on a slow machine."""


def install(work: Path, python: str) -> dict[str, str]:
    """Install both below `work`, each in an environment of its own; return their versions. Needs npm and node."""
    if shutil.which("npm") is None:
        sys.exit("install npm first, or leave out --all")
    litellm, portkey = work / "litellm", work / "portkey"
    if not (litellm / "complete").exists():
        subprocess.run([python, "-m", "venv", "--clear", litellm], check=True)
        pip = [litellm / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "litellm[proxy]"], check=True)
        (litellm / "complete").touch()
    if not (portkey / "node_modules").exists():
        portkey.mkdir(exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", portkey, "@portkey-ai/gateway"], check=True)
    program = "import importlib.metadata as m; print(m.version('litellm'))"
    version = subprocess.run(
        [litellm / "bin" / "python", "-c", program], check=True, capture_output=True, text=True
    )
    package = portkey / "node_modules" / "@portkey-ai" / "gateway"
    program = f"console.log(require({str(package / 'package.json')!r}).version)"
    portkey_version = subprocess.run(["node", "-e", program], check=True, capture_output=True, text=True)
    return {"LiteLLM": version.stdout.strip(), "Portkey": portkey_version.stdout.strip()}


def start_gateway(name: str, upstream: Running, work: Path, certificates: Certificates) -> Running:
    """Start one of GATEWAYS before an upstream that speaks TLS."""
    port = free_port()
    keep = {"PATH", "LANG", "LD_LIBRARY_PATH"}
    env = {key: value for key, value in os.environ.items() if key in keep} | {"HOME": str(work)}
    if name == "LiteLLM":
        conf = work / "litellm.yaml"
        conf.write_text(LITELLM_CONF.format(base_url=f"{upstream.origin}/v1"))
        env |= {
            "SSL_CERT_FILE": certificates.ca,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
        }
        program = str(work / "litellm" / "bin" / "litellm")
        argv = [program, "--config", str(conf), "--host", "127.0.0.1", "--port", str(port)]
        argv += ["--num_workers", "1"]
    else:
        env |= {
            "NODE_ENV": "production",
            "NODE_EXTRA_CA_CERTS": certificates.ca,
            "TRUSTED_CUSTOM_HOSTS": "localhost,127.0.0.1",
        }
        package = work / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
        argv = ["node", str(package / "build" / "start-server.js"), "--headless", f"--port={port}"]
    return start(name, argv, port, work, tls=False, core=PROXY_CORE, env=env, within_s=START_S)


def head_lines(name: str, upstream: Running) -> str:
    """Return the header lines that a request needs to reach the upstream: Portkey takes it from the client."""
    if name != "Portkey":
        return ""
    return f"x-portkey-provider: openai\r\nx-portkey-custom-host: {upstream.origin}/v1\r\n"
