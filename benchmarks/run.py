"""Measure the daemon, an aiohttp proxy, nginx, Caddy and no proxy at all, with realistic traffic.

    python3 benchmarks/run.py [--quick] [--all] [--only PART ...] [--output FILE] [--write]

One command: it compiles the upstream and the stream client (gcc, OpenSSL's
headers), makes an environment of its own for this checkout and aiohttp with
uvloop, and takes wrk, nginx and caddy from the system, or from apt-get if it
may. PYTHON makes the environment, by default the system's own python3:
distributions build it with profiles, version managers mostly without. TWISTD
names another daemon to measure. Loopback only.

The upstream speaks TLS in the first table, as every user's does. Answers have
OpenAI's 22 header lines, of which nine change every time; requests are those of
the SDKs, each with a `traceparent` and a length of its own; events have lengths
of their own. Rounds alternate between the contestants, and tables have medians:
CPU time first, for it hardly depends on what else the machine does.

`--all` adds LiteLLM and Portkey (npm), a gigabyte to install.

`--write` puts tables and plots into docs/explain/performance.md. It takes about
25 minutes, with --quick about 15.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path

import gateways
from charts import bars
from contestants import (
    FEATURES,
    PROXIES,
    PROXY_CORE,
    WORKERS,
    Certificates,
    Running,
    start_feature,
    start_proxy,
    start_upstream,
)
from measures import (
    EVENTS_PER_STREAM,
    MIB,
    Throughput,
    burst,
    kib_per_idle_stream,
    paced,
    throughput,
    transfer,
)

HERE = Path(__file__).resolve().parent
PARTS = ("tls", "features", "workers", "plain", "transfers", "idle", "paced")
GATEWAYS = "gateways"
"""The part that --all adds."""
LOADS = {
    "request": (1, ""),
    "event, one a write": (EVENTS_PER_STREAM, "?flat=1"),
    "event, ten a write": (EVENTS_PER_STREAM, "?flat=10"),
    "event, in writes of 700 bytes": (EVENTS_PER_STREAM, "?split=700"),
}
"""The loads: the number of units in an answer, and the query for the upstream."""
OURS = "openai-proxy"
PAGE = HERE.parent / "docs" / "explain" / "performance.md"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
WORK = Path(os.environ.get("BENCHMARK_DIR") or Path(tempfile.gettempdir()) / "openai-proxy-benchmarks")


def install() -> str:
    """Build what is missing; return the twistd to run. The rest of the program runs in that environment."""
    WORK.mkdir(parents=True, exist_ok=True)
    needed = {"gcc": "gcc libc6-dev", "wrk": "wrk", "nginx": "nginx-light", "caddy": "caddy"}
    path = os.environ["PATH"] + ":/usr/sbin"
    packages = [package for tool, package in needed.items() if not shutil.which(tool, path=path)]
    if not Path("/usr/include/openssl/ssl.h").exists():
        packages.append("libssl-dev")
    if packages:
        apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *" ".join(packages).split()]
        if os.geteuid() or not shutil.which("apt-get"):
            sys.exit(f"install these first: {' '.join(packages)}")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(apt, check=True, stdout=subprocess.DEVNULL)
    for name, libraries in (("upstream", ["-lssl", "-lcrypto"]), ("streams", [])):
        subprocess.run(["gcc", "-O2", "-o", WORK / name, HERE / f"{name}.c", *libraries], check=True)
    base = os.environ.get("PYTHON") or system_python()
    venv = WORK / f"venv-{zlib.crc32(f'{base} {HERE.parent}'.encode()):08x}"
    python = venv / "bin" / "python"
    if not (venv / "complete").exists():
        subprocess.run([base, "-m", "venv", "--clear", venv], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "aiohttp>=3.13", "uvloop", "trustme", "-e", f"{HERE.parent}[all]"], check=True)
        (venv / "complete").touch()
    if Path(sys.prefix).resolve() != venv.resolve():
        os.execve(python, [str(python), *sys.argv], {**os.environ, "PYTHON": base})
    return os.environ.get("TWISTD") or str(venv / "bin" / "twistd")


def system_python() -> str:
    """Return the distribution's python3 if it is new enough and can make environments, else the one that runs this."""
    system = "/usr/bin/python3"
    able = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
    try:
        subprocess.run([system, "-c", able], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return sys.executable
    return system


def machine_line() -> str:
    """Describe the machine."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    versions = []
    for argv in (["nginx", "-v"], ["caddy", "version"], ["wrk", "-v"]):
        done = subprocess.run(
            argv, capture_output=True, text=True, env={"PATH": os.environ["PATH"] + ":/usr/sbin"}
        )
        versions.append(
            (done.stdout + done.stderr).splitlines()[0].replace("nginx version: ", "").split(" [")[0]
        )
    import aiohttp

    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()} of {sys.base_prefix}, "
        f"aiohttp {aiohttp.__version__} with uvloop, {versions[0]}, Caddy {versions[1].split()[0]}, {versions[2]};\n"
        "the proxy on one core, load and upstream on another."
    )


class Report:
    """Collects the tables' lines; prints each as it is made."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str = "") -> None:
        self.lines.append(line)
        print(line, flush=True)

    def table(self, columns: list[str]) -> None:
        self.add()
        self.add("| " + " | ".join(columns) + " |")
        self.add("|---" * len(columns) + "|")

    def row(self, *cells: object) -> None:
        self.add("| " + " | ".join(str(cell) for cell in cells) + " |")


def ratio(ours: float, other: float) -> str:
    return f"{ours / other:.2f}" if other else "-"


class Benchmarks:
    """Runs the parts against one set of started servers."""

    def __init__(self, report: Report, twistd: str, quick: bool, rounds: int | None = None) -> None:
        self.report, self.twistd, self.quick = report, twistd, quick
        self.rounds, self.seconds = rounds or (5 if quick else 9), 2.0
        self.servers: dict[str, Running] = {}

    def start(self, certificates: Certificates | None = None) -> None:
        upstream = start_upstream(WORK, certificates)
        try:
            for name in PROXIES:
                self.servers[name] = start_proxy(name, upstream, WORK, self.twistd, certificates)
        finally:
            self.servers["direct"] = upstream

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()
        self.servers.clear()

    def alternate(self, measure: Callable[[Running], Throughput]) -> dict[str, Throughput]:
        """Call `measure(server)` for each contestant in turn, round after round; the medians by name."""
        got: dict[str, list[Throughput]] = {name: [] for name in self.servers}
        for _ in range(self.rounds):
            for name, server in self.servers.items():
                got[name].append(measure(server))
        return {
            name: Throughput(*(statistics.median(column) for column in zip(*map(astuple, runs), strict=True)))
            for name, runs in got.items()
        }

    def throughput(self, kind: str) -> dict[str, dict[str, float]]:
        """Measure every load and report it; CPU microseconds of a request or event, by load and contestant."""
        for server in self.servers.values():
            throughput(server, WORK, 1)
        got = {
            label: self.alternate(partial(throughput, work=WORK, seconds=self.seconds, query=query))
            for label, (_, query) in LOADS.items()
        }
        costs = {
            label: {name: each.cpu_us / LOADS[label][0] for name, each in found.items() if name != "direct"}
            for label, found in got.items()
        }
        others = [name for name in PROXIES if name != OURS]
        self.report.table([f"{kind}: CPU µs for each", *PROXIES, *(f"{name} / ours" for name in others)])
        for label, found in costs.items():
            cells = [
                f"{found[name]:,.2f}" if LOADS[label][0] > 1 else f"{found[name]:,.0f}" for name in PROXIES
            ]
            self.report.row(label, *cells, *(ratio(found[name], found[OURS]) for name in others))
        self.report.table([f"{kind}: rates on one core, 64 connections", *self.servers])
        for label, found in got.items():
            self.report.row(
                f"{label}: a second", *(f"{LOADS[label][0] * each.per_s:,.0f}" for each in found.values())
            )
        requests = got["request"].values()
        self.report.row(
            "request: median, p99", *(f"{each.p50_ms:.1f}, {each.p99_ms:.1f} ms" for each in requests)
        )
        return costs

    def paced(self) -> None:
        quick = self.quick
        loads: list[tuple[str, int, Callable[[Running], dict[str, float]]]] = [
            (
                "200 streams of 20 events/s",
                2 if quick else 3,
                lambda server: paced(server, WORK, 200, 3 if quick else 6),
            ),
            (
                "2,000 streams of 2 events/s",
                1 if quick else 3,
                lambda server: paced(server, WORK, 2000, 4 if quick else 8, slow=True),
            ),
            ("200 clients in one moment", 5, lambda server: burst(server, WORK, 200)),
        ]
        for title, rounds, measure in loads:
            self._added(title, rounds, measure)

    def _added(self, title: str, rounds: int, measure: Callable[[Running], dict[str, float]]) -> None:
        """Report what each contestant adds to events and to the first byte, over connections that are new on both sides."""
        keys = ("event_us_p50", "event_us_p99", "first_byte_us_p50", "first_byte_us_p99")
        got: dict[str, list[dict[str, float]]] = {name: [] for name in self.servers}
        for _ in range(rounds):
            for name, server in self.servers.items():
                got[name].append(measure(server))
        medians = {
            name: [statistics.median(one[key] for one in runs) for key in keys] for name, runs in got.items()
        }
        self.report.table(
            [f"{title}, added to direct", "event p50", "event p99", "first byte p50", "first byte p99"]
        )
        for name, values in medians.items():
            base = medians["direct"] if name != "direct" else [0.0] * 4
            cells = [
                "-"
                if value < 0
                else f"{(value - zero) / 1000:.3f} ms"  # no event of it says when it was sent
                for value, zero in zip(values, base, strict=True)
            ]
            self.report.row(name + (" (its own)" if name == "direct" else ""), *cells)

    def idle(self, certificates: Certificates) -> None:
        names = [name for name in self.servers if name != "direct"]
        found: dict[str, list[float]] = {name: [] for name in names}
        for secure in (False, True):
            if secure:
                self.stop()
                self.start(certificates)
            for name in names:
                gap_us = 8000 if secure else 1000  # a handshake takes both ends a millisecond or more
                found[name].append(kib_per_idle_stream(self.servers[name], WORK, 1000, gap_us))
        self.report.table(["1,000 idle open streams: KiB of resident memory each", *names])
        for kind, number in (("plain upstream", 0), ("upstream over TLS", 1)):
            self.report.row(kind, *(f"{found[name][number]:.1f}" for name in names))

    def transfers(self) -> None:
        size = 256 * MIB if self.quick else 1024 * MIB
        names = ["openai-proxy"] if self.quick else ["openai-proxy", "aiohttp", "nginx"]
        self.report.table([f"{size // MIB} MiB through", "", "memory grew by", "MiB/s", "files in TMPDIR"])
        for what in ("upload", "download"):
            for stall_s in (0, 5):
                for name in names:
                    grown, speed, files = transfer(self.servers[name], WORK, what, size, stall_s)
                    how = f"{what}, {'peer stalls 5 s' if stall_s else 'fast'}"
                    self.report.row(
                        how, name, f"{grown:.1f} MiB", f"{speed:,.0f}", ", ".join(sorted(files)) or "none"
                    )

    def features(self, certificates: Certificates) -> None:
        """The cost of each feature, next to aiohttp and nginx without any, with a TLS upstream."""
        upstream = start_upstream(WORK, certificates)
        others = ["aiohttp", "nginx"]
        try:
            for label in FEATURES:
                self.servers[label] = start_feature(label, upstream, WORK, self.twistd, certificates)
            for name in others:
                self.servers[name] = start_proxy(name, upstream, WORK, self.twistd, certificates)
            for server in self.servers.values():
                throughput(server, WORK, 1)
            loads = list(LOADS.items())[:2]
            found = {
                label: self.alternate(partial(throughput, work=WORK, seconds=self.seconds, query=query))
                for label, (_, query) in loads
            }
        finally:
            self.stop()
            upstream.stop()
            shutil.rmtree(WORK / "features", ignore_errors=True)  # gigabytes of exchange log
        columns = ["upstream over TLS: CPU µs for each"]
        for label, _ in loads:
            columns += [label, *(f"bare {name} / this" for name in others)]
        self.report.table(columns)
        for name in [*FEATURES, *others]:
            cells = []
            for label, (units, _) in loads:
                ours = found[label][name].cpu_us
                cells.append(f"{ours / units:,.{2 if units > 1 else 0}f}")
                cells += [ratio(found[label][other].cpu_us, ours) for other in others]
            self.report.row(name, *cells)

    def workers(self, certificates: Certificates) -> None:
        """What a request costs with two workers, all on one core; and the throughput if all use all cores."""
        self.report.table(
            [
                "upstream over TLS",
                "one core: CPU µs for a request",
                "any core, load included: requests a second",
            ]
        )
        rows: dict[str, list[Throughput]] = {label: [] for label in WORKERS}
        for core in (PROXY_CORE, None):
            upstream = start_upstream(WORK, certificates)
            try:
                for label in WORKERS:
                    self.servers[label] = start_feature(
                        label, upstream, WORK, self.twistd, certificates, core
                    )
                for server in self.servers.values():
                    throughput(server, WORK, 1)
                for label, each in self.alternate(
                    partial(throughput, work=WORK, seconds=self.seconds)
                ).items():
                    rows[label].append(each)
            finally:
                self.stop()
                upstream.stop()
        for label, (pinned, anywhere) in rows.items():
            self.report.row(label, f"{pinned.cpu_us:,.0f}", f"{anywhere.per_s:,.0f}")

    def gateways(self, certificates: Certificates, versions: dict[str, str]) -> None:
        """What a request through a gateway in wide use costs, with a TLS upstream."""
        upstream = start_upstream(WORK, certificates)
        try:
            self.servers[OURS] = start_proxy(OURS, upstream, WORK, self.twistd, certificates)
            for name in gateways.GATEWAYS:
                self.servers[name] = gateways.start_gateway(name, upstream, WORK, certificates)

            def measure(server: Running) -> Throughput:
                lines = gateways.head_lines(server.name, upstream)
                return throughput(server, WORK, 3 * self.seconds, lines=lines)  # LiteLLM answers 25 a second

            for server in self.servers.values():
                measure(server)
            found = self.alternate(measure)
        finally:
            self.stop()
            upstream.stop()
        named = [f"{name} {versions.get(name, '')}".strip() for name in found]
        self.report.table(["gateways, upstream over TLS", *named])
        self.report.row("request: CPU µs", *(f"{each.cpu_us:,.0f}" for each in found.values()))
        self.report.row("ours = 1", *(ratio(each.cpu_us, found[OURS].cpu_us) for each in found.values()))
        self.report.row(
            "request: median, p99", *(f"{each.p50_ms:.1f}, {each.p99_ms:.1f} ms" for each in found.values())
        )


def certificates_of_localhost() -> Certificates:
    """Make a throw-away authority and a certificate."""
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    files = Certificates(*(str(WORK / f"{name}.pem") for name in ("ca", "cert", "key")))
    authority.cert_pem.write_to_path(files.ca)
    leaf.private_key_pem.write_to_path(files.key)
    Path(files.cert).write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return files


def write_page(report: Report, costs: dict[str, dict[str, dict[str, float]]]) -> None:
    """Put the tables and the plots of a run into the documentation."""
    plots = []
    for kind, found in costs.items():
        for title, labels in (("a request", ["request"]), ("an event", list(LOADS)[1:3])):
            words = f"CPU microseconds for {title}, {kind}"
            file = f"performance-{title.split()[1]}-{kind.split()[-1].lower()}.svg"
            PAGE.with_name(file).write_text(bars(words, {label: found[label] for label in labels}))
            plots.append(f"![{words}]({file})")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text("\n".join([before + BEGIN, *plots, "", *report.lines, "", END]) + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller transfers: five minutes")
    parser.add_argument(
        "--all", action="store_true", help="LiteLLM and Portkey too, which are installed first"
    )
    parser.add_argument("--rounds", type=int, help="rounds for each load; by default 9, with --quick 5")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, GATEWAYS], default=list(PARTS))
    parser.add_argument("--output", type=Path, help="write the tables there too")
    parser.add_argument("--write", action="store_true", help="write tables and plots into the documentation")
    options = parser.parse_args()
    twistd = install()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = Report()
    report.add(machine_line())
    benchmarks = Benchmarks(report, twistd, options.quick, options.rounds)
    certificates = certificates_of_localhost()
    costs = {}
    for part, kind in (("tls", "upstream over TLS"), ("plain", "plain upstream")):
        try:
            if part in options.only:
                benchmarks.start(certificates if part == "tls" else None)
                costs[kind] = benchmarks.throughput(kind)
        finally:
            benchmarks.stop()
    if "features" in options.only:
        benchmarks.features(certificates)
    if "workers" in options.only:
        benchmarks.workers(certificates)
    if options.all or GATEWAYS in options.only:
        python = os.environ.get("PYTHON") or system_python()
        benchmarks.gateways(certificates, gateways.install(WORK, python))
    # Each with fresh servers: one that has just been under load has room to spare, and would seem to need less memory.
    for part in ("transfers", "idle", "paced"):
        if part in options.only:
            try:
                benchmarks.start()
                if part == "idle":
                    benchmarks.idle(certificates)
                else:
                    getattr(benchmarks, part)()
            finally:
                benchmarks.stop()
    if options.output:
        options.output.write_text("\n".join(report.lines) + "\n")
    if options.write:
        write_page(report, costs)


if __name__ == "__main__":
    main()
