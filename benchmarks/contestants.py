"""The servers of the benchmarks: how each is configured and started.

Everything listens on 127.0.0.1. Proxies run on core 0, the upstream and the load
on core 1, so that what is measured is one core of the proxy.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROXY_CORE, LOAD_CORE = "0", "1"
PROXIES = ("openai-proxy", "aiohttp", "nginx", "caddy")

NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off; client_max_body_size 0; keepalive_requests 1000000000;
    proxy_temp_path {work}/nginx-tmp; client_body_temp_path {work}/nginx-tmp;
    upstream api {{ server 127.0.0.1:{upstream_port}; keepalive 2048; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096; {tls}
        location / {{
            proxy_pass {scheme}://api; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600;
        }}
    }}
}}
"""
NGINX_TLS = """
        proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
"""

CADDY_CONF = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    reverse_proxy {origin} {{
        flush_interval -1
        transport http {{
            versions 1.1
            compression off
            keepalive_idle_conns 4096
            keepalive_idle_conns_per_host 4096
            {tls}
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Certificates:
    """PEM files of one throw-away authority and the certificate it gave to localhost and 127.0.0.1."""

    ca: str
    cert: str
    key: str


@dataclass
class Running:
    """A started server: where it listens (`origin` without a trailing slash) and its process."""

    name: str
    port: int
    scheme: str
    process: subprocess.Popen[bytes]

    @property
    def origin(self) -> str:
        return (
            f"{self.scheme}://localhost:{self.port}"
            if self.scheme == "https"
            else f"http://127.0.0.1:{self.port}"
        )

    def rss_kib(self) -> int:
        """Resident memory of the process now, in KiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError(f"{self.name} is gone")

    def cpu_s(self) -> float:
        """CPU seconds the process and its children have used so far, in user and kernel mode."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ticks = 0
        for each in (pid, *children):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


FEATURES = {
    "bare": "",
    "limits, key, parameters, think removal, two upstreams": """
        client_api_keys = ["sk-benchmark"]
        llm_params = "model=m,top_k=40"
        upstream.api_key = "sk-upstream"
        rate_limit = {{ requests_per_minute = 100000000, tokens_per_minute = 10000000000, concurrent_requests = 100000 }}
        think.mode = "strip"
        upstreams = [
            {{ name = "a", base_url = "{base_url}", api_key = "sk-a" }},
            {{ name = "b", base_url = "{base_url}", api_key = "sk-b", priority = 1 }},
        ]
        """,
    "the usual: keys, limits, metrics, exchange log": """
        client_api_keys = ["sk-benchmark"]
        upstream.api_key = "sk-upstream"
        rate_limit = {{ requests_per_minute = 100000000, tokens_per_minute = 10000000000, concurrent_requests = 100000 }}
        observers = ["none", "exchange-log:dir=exchange-log"]
        """,
    "exchange log with bodies": """
        observers = ["none", "exchange-log:dir=exchange-log"]
        """,
    "answers from the cache in memory": """
        cache = {{ url = "memory:", rules = [{{ endpoint = "chat/completions", condition = "always" }}] }}
        """,
}
"""The configurations to measure besides the bare daemon: TOML, with the upstream's URL for `base_url`."""


WORKERS = {
    "one process": "",
    "two workers": "workers = 2",
}
"""Also with an upstream that speaks TLS."""


def start_feature(
    label: str,
    upstream: Running,
    work: Path,
    twistd: str,
    certificates: Certificates,
    core: str | None = PROXY_CORE,
) -> Running:
    """Start the daemon with one of FEATURES or WORKERS before an upstream that speaks TLS; `core` None: on any core."""
    settings = {**FEATURES, **WORKERS}
    port = free_port()
    base_url = f"{upstream.origin}/v1"
    directory = work / "features"
    directory.mkdir(exist_ok=True)
    config = directory / f"{list(settings).index(label)}.toml"
    config.write_text(textwrap.dedent(settings[label]).format(base_url=base_url))
    env = {
        key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")
    }
    env["OPENAI_API_BASE"] = base_url
    env["UPSTREAM__CA_FILE"] = certificates.ca
    argv = [twistd, "-n", "--pidfile=", "openai-proxy", "--port", f"tcp:{port}:interface=127.0.0.1"]
    if "observers" not in settings[label]:
        env["OBSERVERS"] = "none"
    return start(label, [*argv, "--config", str(config)], port, directory, tls=False, core=core, env=env)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_core(core: str | None) -> list[str]:
    """Return the prefix that pins a command to one core, if there is more than one; None pins to none."""
    return ["taskset", "-c", core] if core is not None and (os.cpu_count() or 1) > 1 else []


def start(
    name: str,
    argv: list[str],
    port: int,
    work: Path,
    *,
    tls: bool,
    core: str | None,
    env: dict[str, str],
    within_s: float = 20,
) -> Running:
    """Start a server and wait until its port answers; its output goes to `work`/NAME.log."""
    log = work / f"{name.replace(' ', '-').replace(':', '')}{'-tls' if tls else ''}.log"
    process = subprocess.Popen(
        [*on_core(core), *argv], stdout=log.open("ab"), stderr=subprocess.STDOUT, cwd=work, env=env
    )
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return Running(name, port, "https" if tls else "http", process)
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"{name} did not start:\n{log.read_text()[-2000:]}")


def start_upstream(work: Path, certificates: Certificates | None) -> Running:
    """Start the C upstream on the load's core."""
    port = free_port()
    argv = [str(work / "upstream"), str(port)]
    if certificates:
        argv += [certificates.cert, certificates.key]
    return start("upstream", argv, port, work, tls=bool(certificates), core=LOAD_CORE, env=dict(os.environ))


def start_proxy(
    name: str, upstream: Running, work: Path, twistd: str, certificates: Certificates | None
) -> Running:
    """Start the proxy called `name` (one of PROXIES) before `upstream`; `work`/tmp is its TMPDIR.

    With `certificates` the upstream speaks TLS, and is verified. Each has the backlog and the
    descriptors of its own recommended production set-up.
    """
    port = free_port()
    tmp = work / "tmp"
    tmp.mkdir(exist_ok=True)
    keep = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH"}
    env = {key: value for key, value in os.environ.items() if key in keep} | {"TMPDIR": str(tmp)}
    if name == "openai-proxy":
        env["OPENAI_API_BASE"] = f"{upstream.origin}/v1"
        if certificates:
            env["UPSTREAM__CA_FILE"] = certificates.ca
        # No line for each request, as with the others; /metrics counts all the same.
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        argv = [twistd, "-n", "--pidfile=", "openai-proxy", "--port", endpoint, "--observer", "none"]
    elif name == "aiohttp":
        argv = [sys.executable, str(HERE / "aiohttp_proxy.py"), str(port), upstream.origin]
        if certificates:
            argv.append(certificates.ca)
    elif name == "caddy":
        conf = work / "Caddyfile"
        tls = f"tls_trusted_ca_certs {certificates.ca}" if certificates else ""
        conf.write_text(CADDY_CONF.format(port=port, origin=upstream.origin, tls=tls))
        env["HOME"] = str(work)
        argv = [shutil.which("caddy") or "caddy", "run", "--adapter", "caddyfile", "--config", str(conf)]
    else:
        (work / "nginx-tmp").mkdir(exist_ok=True)
        conf = work / f"nginx{'-tls' if certificates else ''}.conf"
        conf.write_text(
            NGINX_CONF.format(
                work=work,
                port=port,
                upstream_port=upstream.port,
                scheme=upstream.scheme,
                tls=NGINX_TLS.format(ca=certificates.ca) if certificates else "",
            )
        )
        argv = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(conf), "-p", str(work)]
    return start(name, argv, port, work, tls=False, core=PROXY_CORE, env=env)
