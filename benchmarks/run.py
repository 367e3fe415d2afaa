"""Measure the daemon beside an aiohttp proxy, nginx and no proxy at all.

    python3 benchmarks/run.py [--quick] [--only PART ...] [--output FILE]

One command: it compiles the upstream and the stream client (gcc, OpenSSL's
headers), makes an environment of its own for this checkout and aiohttp, and
takes wrk and nginx from the system, or from apt-get where it may. PYTHON makes
the environment, by default the system's own python3: distributions build it
with profiles, version managers mostly without. TWISTD names another daemon to
measure. Rounds alternate between the contestants; the table has medians.
Loopback only. About ten minutes; --quick about five.
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
from functools import partial
from pathlib import Path

from contestants import FEATURES, PROXIES, Certificates, Running, start_feature, start_proxy, start_upstream
from measures import EVENTS_PER_STREAM, MIB, Throughput, kib_per_idle_stream, paced, throughput, transfer

HERE = Path(__file__).resolve().parent
PARTS = ("requests", "streaming", "paced", "idle", "tls", "transfers", "features")
WORK = Path(os.environ.get("BENCHMARK_DIR") or Path(tempfile.gettempdir()) / "openai-proxy-benchmarks")


def install() -> str:
    """Make what is missing; return the twistd to run. The rest of the program runs in that environment."""
    WORK.mkdir(parents=True, exist_ok=True)
    needed = {"gcc": "gcc libc6-dev", "wrk": "wrk", "nginx": "nginx-light"}
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
        subprocess.run([*pip, "aiohttp>=3.13", "trustme", "-e", f"{HERE.parent}[all]"], check=True)
        (venv / "complete").touch()
    if Path(sys.prefix).resolve() != venv.resolve():
        os.execve(python, [str(python), *sys.argv], {**os.environ, "PYTHON": base})
    return os.environ.get("TWISTD") or str(venv / "bin" / "twistd")


def system_python() -> str:
    """Return the distribution's python3 where it is new enough and can make environments, else the one that runs this."""
    system = "/usr/bin/python3"
    able = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
    try:
        subprocess.run([system, "-c", able], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return sys.executable
    return system


def machine_line() -> str:
    """Say what it ran on."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    versions = []
    for argv in (["nginx", "-v"], ["wrk", "-v"]):
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
        f"aiohttp {aiohttp.__version__}, {versions[0]}, {versions[1]}; the proxy on one core, load and upstream on another."
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

    def __init__(self, report: Report, twistd: str, quick: bool) -> None:
        self.report, self.twistd, self.quick = report, twistd, quick
        self.rounds, self.seconds = (7, 1.0) if quick else (15, 1.0)
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
            name: Throughput(
                statistics.median(one.per_s for one in runs), statistics.median(one.cpu_us for one in runs)
            )
            for name, runs in got.items()
        }

    def throughput(self, parts: list[str], kind: str) -> dict[str, dict[str, Throughput]]:
        """Measure and report requests/s and chunks/s of all contestants."""
        loads = {}
        if "requests" in parts:
            loads["requests/s"] = (1, "")
        if "streaming" in parts:
            loads["chunks/s, one event a write"] = (EVENTS_PER_STREAM, "?flat=1")
            loads["chunks/s, ten events a write"] = (EVENTS_PER_STREAM, "?flat=10")
        for server in self.servers.values():
            throughput(server, WORK, 1)
        result = {}
        self.report.table([kind, *self.servers, "ours / aiohttp", "ours / nginx"])
        for label, (units, query) in loads.items():
            got = self.alternate(partial(throughput, work=WORK, seconds=self.seconds, query=query))
            rates = {name: units * one.per_s for name, one in got.items()}
            costs = {name: one.cpu_us / units for name, one in got.items()}
            for name, values, digits in ((label, rates, 0), ("CPU µs each", costs, 2)):
                ours = values["openai-proxy"]
                cells = [f"{value:,.{digits}f}" for value in values.values()]
                self.report.row(name, *cells, ratio(ours, values["aiohttp"]), ratio(ours, values["nginx"]))
            result[label] = got
        return result

    def paced(self) -> None:
        keys = ("event_us_p50", "event_us_p99", "first_byte_us_p50", "first_byte_us_p99")
        rounds = 2 if self.quick else 3
        got: dict[str, list[dict[str, float]]] = {name: [] for name in self.servers}
        for _ in range(rounds):
            for name, server in self.servers.items():
                got[name].append(paced(server, WORK, 200, 3 if self.quick else 6))
        medians = {
            name: [statistics.median(one[key] for one in runs) for key in keys] for name, runs in got.items()
        }
        self.report.table(
            [
                "200 streams of 20 events/s, added to direct",
                "event p50",
                "event p99",
                "first byte p50",
                "first byte p99",
            ]
        )
        for name, values in medians.items():
            base = medians["direct"] if name != "direct" else [0.0] * 4
            cells = [f"{(value - zero) / 1000:.3f} ms" for value, zero in zip(values, base, strict=True)]
            self.report.row(name + (" (its own)" if name == "direct" else ""), *cells)

    def idle(self) -> None:
        self.report.table(["1,000 idle open streams", "KiB of resident memory each"])
        for name, server in self.servers.items():
            if name != "direct":
                self.report.row(name, f"{kib_per_idle_stream(server, WORK, 1000):.1f}")

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

    def features(self) -> None:
        """What each feature leaves of the bare daemon's throughput."""
        upstream = start_upstream(WORK, None)
        try:
            for label in FEATURES:
                self.servers[label] = start_feature(label, upstream, WORK, self.twistd)
            rows = [
                (
                    what,
                    units,
                    self.alternate(partial(throughput, work=WORK, seconds=self.seconds, query=query)),
                )
                for what, units, query in (
                    ("requests", 1, ""),
                    ("chunks, one event a write", EVENTS_PER_STREAM, "?flat=1"),
                )
            ]
        finally:
            self.stop()
            upstream.stop()
            shutil.rmtree(WORK / "features", ignore_errors=True)  # gigabytes of exchange log
        self.report.table(["part of the bare daemon's throughput", *FEATURES, "by CPU time"])
        for what, units, got in rows:
            rates = [one.per_s * units for one in got.values()]
            costs = [one.cpu_us for one in got.values()]
            cells = [f"{rates[0]:,.0f}/s", *(f"{rate / rates[0]:.2f}" for rate in rates[1:])]
            self.report.row(what, *cells, ", ".join(f"{costs[0] / cost:.2f}" for cost in costs[1:]))

    def tls(self, parts: list[str], plain: dict[str, dict[str, Throughput]]) -> None:
        """The throughput again with TLS on both sides, and the part that TLS takes."""
        import trustme

        authority = trustme.CA()
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        files = Certificates(*(str(WORK / f"{name}.pem") for name in ("ca", "cert", "key")))
        authority.cert_pem.write_to_path(files.ca)
        leaf.private_key_pem.write_to_path(files.key)
        Path(files.cert).write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        try:
            self.start(files)
            secured = self.throughput(parts, "TLS both sides")
        finally:
            self.stop()
        self.report.table(["part of the proxy's CPU time that TLS takes", *PROXIES])
        for label, got in secured.items():
            shares = [1 - plain[label][name].cpu_us / got[name].cpu_us for name in PROXIES]
            self.report.row(label.replace("/s", ""), *(f"{share:.0%}" for share in shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller transfers: five minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts only")
    parser.add_argument("--output", type=Path, help="write the tables there too")
    options = parser.parse_args()
    twistd = install()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = Report()
    report.add(machine_line())
    benchmarks = Benchmarks(report, twistd, options.quick)
    parts = [part for part in ("requests", "streaming") if part in options.only]
    try:
        benchmarks.start()
        # memory first: a server that has just been under load has room to spare, and would look thriftier than it is
        for part in ("transfers", "idle", "paced"):
            if part in options.only:
                getattr(benchmarks, part)()
        plain = benchmarks.throughput(parts, "plain") if parts else {}
    finally:
        benchmarks.stop()
    if "tls" in options.only and plain:
        benchmarks.tls(parts, plain)
    if "features" in options.only:
        benchmarks.features()
    if options.output:
        options.output.write_text("\n".join(report.lines) + "\n")


if __name__ == "__main__":
    main()
