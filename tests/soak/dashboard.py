#!/usr/bin/env python3
"""Watch the dashboard in a real browser, under load: numbers, cancels, memory, accessibility.

    .venv/bin/python tests/soak/dashboard.py --minutes 10 [--axe axe.min.js] [--screenshots DIR]

Ends with an error if something is wrong. `--axe` is the file of the npm
package axe-core. Not part of the tests, as it takes its minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from world.browser import Browser
from world.client import Client
from world.daemon import configured
from world.pages import get_json, metrics, total
from world.requests import post
from world.scripts import COMPLETION
from world.waiting import eventually
from world.world import World, serving

SECTIONS = ("now", "ended", "spending", "upstreams", "keys", "configuration")
HOSTILE = "<img src=x onerror=document.title='bad'>"
NAMES = ("alice", "build-server", HOSTILE)
MODELS = ("gpt-4o-mini", "gpt-4.1", "text-embedding-3-small")
TOML = """
[admin]
token = "secret"
[live]
capture_bytes = 4000000
[key_store]
url = "sqlite:keys.sqlite3"
[[cost.prices]]
match = "*"
input_usd_per_million = 2.5
output_usd_per_million = 10.0
""" + "".join(
    f'[[keys]]\nname = {json.dumps(name)}\nkey = "sk-{number}"\nbudget_usd = {20 * (number + 1)}\n'
    for number, name in enumerate(NAMES)
)


def upstream(call: Any) -> None:
    """Stream for some seconds, answer at once, or fail."""
    body = json.loads(call.read_body())
    if random.random() < 0.03:
        call.reply(b'{"error":{"message":"busy"}}', [(b"Content-Type", b"application/json")], b"503 Busy")
    elif not body.get("stream"):
        call.reply_json(COMPLETION)
    else:
        call.start_stream()
        for _ in range(random.randrange(20, 200)):
            call.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n')
            time.sleep(0.03)
        usage = {"prompt_tokens": 50, "completion_tokens": 100, "total_tokens": 150}
        call.chunk(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()


def load(port: int, stop: threading.Event) -> None:
    """Ask again and again, as one client."""
    while not stop.is_set():
        document = {
            "model": random.choice(MODELS),
            "messages": [{"role": "user", "content": "Say something about the weather."}],
            "stream": random.random() < 0.3,
        }
        with suppress(Exception), Client(port) as client:
            client.send(post(f"sk-{random.randrange(len(NAMES))}", document))
            client.response()
        time.sleep(random.random() * 0.2)


def resident(browser: Browser) -> int:
    """Return the bytes of the page's heap, after a collection."""
    browser.call("HeapProfiler.collectGarbage")
    return int(browser.call("Runtime.getHeapUsage")["usedSize"])


def cancel_one(world: World, browser: Browser) -> float | None:
    """Cancel the youngest exchange that the page shows; return how long its end took, None if there was none."""
    browser.run("location.hash = '#now'")
    script = "document.querySelector('#running tbody tr:last-child td:first-child button')"
    if not browser.run(f"!!{script}"):
        return None
    label = browser.run(f"{script}.getAttribute('aria-label')")
    id = label.rpartition(" ")[2]
    began = time.monotonic()
    browser.run(f"{script}.focus()")
    browser.press_enter()
    assert eventually(
        lambda: get_json(world.port, f"/admin/exchanges/{id}", "secret").get("state", "ended") == "ended", 10
    )
    return time.monotonic() - began


def compare(world: World, browser: Browser) -> None:
    """Once nothing runs, the page's numbers are those of /metrics and /admin/usage."""
    usage = get_json(world.port, "/admin/usage", "secret")
    browser.run("location.hash = '#now'")
    browser.run("location.hash = '#spending'")
    spent = usage["total"]["cost_usd"]
    cost = f"{spent:.6f}" if spent < 1 else f"{spent:.2f}"
    browser.until(f"document.getElementById('since').textContent.includes('{cost}')")
    shown = browser.run(
        "[...document.querySelectorAll('#by-key tbody tr')].map(row => Number(row.cells[1].textContent.replace(/,/g, '')))"
    )
    assert sum(shown) == usage["total"]["requests"], (shown, usage["total"])
    page = metrics(world.port)
    assert total(page, "openai_proxy_requests_total") >= usage["total"]["requests"]
    assert abs(total(page, "openai_proxy_cost_usd_total") - usage["total"]["cost_usd"]) < 1e-6


def look(browser: Browser, axe: str, directory: Path | None) -> list[str]:
    """Look at every section, light and dark; return what axe-core complains of."""
    found = []
    browser.run("location.hash = '#configuration'")  # what the last cancel said goes
    for section in SECTIONS:
        browser.run(f"location.hash = '#{section}'")
        time.sleep(1.0)
        browser.run("scrollTo(0, 0)")
        for dark in (False, True):
            if directory is not None:
                browser.screenshot(
                    directory / f"{section}-{'dark' if dark else 'light'}.png", 1200, 760, dark=dark
                )
            if axe:
                browser.call("Runtime.evaluate", expression=axe)
                found += browser.run(
                    "axe.run().then(found => found.violations.map(each => `${each.id}: ${each.nodes[0].html}`))"
                )
        if directory is not None:
            browser.screenshot(directory / f"{section}-phone.png", 390, 760)
    browser.call("Emulation.clearDeviceMetricsOverride")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--clients", type=int, default=12)
    options = parser.parse_args()
    directory, stop = Path(tempfile.mkdtemp()), threading.Event()
    axe = options.axe.read_text() if options.axe else ""
    env = {"OPENAI_API_KEY": "sk-upstream", "OBSERVERS": "none"}
    with serving(directory, env=env, **configured(directory, TOML)) as world:
        world.upstream.script = upstream
        browser = Browser(directory)
        clients = [threading.Thread(target=load, args=(world.port, stop)) for _ in range(options.clients)]
        try:
            browser.open(f"http://127.0.0.1:{world.port}/dashboard", "secret")
            for each in clients:
                each.start()
            sizes: list[tuple[int, int]] = []
            slowest, end = 0.0, time.monotonic() + options.minutes * 60
            found: list[str] = []
            while time.monotonic() < end:
                time.sleep(15)
                slowest = max(slowest, cancel_one(world, browser) or 0.0)
                is_last = time.monotonic() > end - 15
                if is_last or not sizes:
                    found += look(browser, axe, options.screenshots if is_last else None)
                sizes.append((world.daemon.resident_bytes(), resident(browser)))
                print(
                    f"daemon {sizes[-1][0] >> 20} MiB, page {sizes[-1][1] >> 10} KiB, slowest cancel {slowest:.2f} s"
                )
            stop.set()
            for each in clients:
                each.join()
            time.sleep(2)
            compare(world, browser)
            print("complaints:", browser.complaints, "axe-core:", found, "origins:", browser.origins)
            half = len(sizes) // 2
            assert max(size for size, _ in sizes[half:]) < 1.2 * max(size for size, _ in sizes[:half]) + (
                20 << 20
            )
            assert min(size for _, size in sizes[half:]) < 1.5 * min(size for _, size in sizes[:half])
            assert slowest < 1.0
            # one that ended by itself before it was cancelled is not found, and the browser says so
            assert [each for each in browser.complaints if "404" not in each] == []
            assert found == []
            assert browser.origins == {f"http://127.0.0.1:{world.port}"}
            assert browser.run("document.title") == "Dashboard - openai-proxy"
        finally:
            stop.set()
            browser.close()
            world.daemon.stop()


if __name__ == "__main__":
    main()
