"""The dashboard in a real browser: what it shows is what the daemon says, and its buttons work."""

import json
import threading

import pytest
from world.browser import Browser
from world.client import Client
from world.daemon import configured
from world.pages import get_json
from world.requests import post
from world.scripts import answer
from world.waiting import PATIENCE_S, eventually
from world.world import serving

HOSTILE = "<img src=x onerror=document.title='bad'>"
TOML = f"""
[key_store]
url = "sqlite:keys.sqlite3"
[admin]
token = "secret"
[live]
capture_bytes = 1000000
[[keys]]
name = {json.dumps(HOSTILE)}
key = "sk-hostile"
[[cost.prices]]
match = "*"
input_usd_per_million = 1000.0
output_usd_per_million = 1000.0
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dashboard")
    env = {"OPENAI_API_KEY": "sk-upstream", "OBSERVERS": "none"}
    with serving(directory, env=env, **configured(directory, TOML)) as world:
        yield world


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


def cells(selector):
    return f"[...document.querySelectorAll('{selector} tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"


def test_the_page_shows_what_runs_and_stops_it(world, browser):
    """With the token as a browser gives it; hostile names are text; nothing comes from elsewhere."""
    port, left = world.port, threading.Event()

    def stuck(call):
        call.read_body()
        call.seconds_until_gone()
        left.set()
        call.finish()

    browser.open(f"http://127.0.0.1:{port}/dashboard", "secret")
    browser.until("document.getElementById('state').textContent === 'Live'")
    world.upstream.script = answer()
    with Client(port) as client:
        client.send(
            post("sk-hostile", {"model": HOSTILE, "messages": [{"role": "user", "content": "<b>hi</b>"}]})
        )
        assert client.response().status == 200
    world.upstream.script = stuck
    with Client(port) as client:
        client.send(post("sk-hostile", {"model": "slow", "messages": []}))
        browser.until(f"{cells('#running')}.length === 1")
        [[_, _, state, key, model, *_]] = browser.run(cells("#running"))
        assert (state, key, model) == ("waiting", HOSTILE, "slow")
        browser.run("document.querySelector('#running button').focus()")
        browser.press_enter()
        assert client.response().error["code"] == "cancelled_by_operator"
        assert left.wait(PATIENCE_S)
    browser.run("location.hash = '#ended'")
    browser.until(f"{cells('#last')}.length === 2")
    shown = browser.run(cells("#last"))
    assert [row[1] for row in shown] == ["cancelled 403", "200"]
    assert shown[1][2:4] == [HOSTILE, HOSTILE]
    browser.run("document.querySelectorAll('#last button')[1].click()")
    browser.until("document.getElementById('one').open")
    assert "<b>hi</b>" in browser.run("document.getElementById('conversation').textContent")
    browser.run("document.getElementById('one').close(), location.hash = '#spending'")
    usage = browser_usage(port)
    total = usage["total"]
    assert total["requests"] == 2
    browser.until(f"{cells('#by-key')}.length === 1")
    assert browser.run(cells("#by-key")) == [
        [
            HOSTILE,
            *(str(total[name]) for name in ("requests", "input_tokens", "output_tokens", "cached_requests")),
            str(total["unpriced_requests"]),
            f"${total['cost_usd']:.6f}",
        ]
    ]
    browser.run("location.hash = '#keys'")
    browser.until(f"{cells('#key-table')}.length === 1")
    browser.run(
        "document.forms['new-key'].elements.name.value = 'made here',"
        "document.forms['new-key'].requestSubmit()"
    )
    browser.until(f"{cells('#key-table')}.length === 2")
    secret = browser.run("document.getElementById('secret').textContent.split(': ').pop()")
    for hours in ("24h", "", "-1"):  # no numbers of hours: the secret must not be cut off at once
        browser.run(
            f"window.prompt = () => '{hours}',"
            "[...document.querySelectorAll('#key-table span:not([hidden]) button')][1].click()"
        )
        browser.until(f"document.getElementById('problem').textContent.startsWith(`'{hours}' is no number`)")
    world.upstream.script = answer()
    with Client(port) as client:
        client.send(post(secret))
        assert client.response().status == 200
    browser.run("location.hash = '#configuration'")
    browser.until("document.getElementById('settings').textContent.includes('admin.token')")
    assert 'secret"' not in browser.run("document.getElementById('settings').textContent")
    assert browser.run("document.querySelectorAll('main img').length") == 0
    assert browser.run("document.title") == "Dashboard - openai-proxy"
    assert browser.complaints == []
    assert browser.origins == {f"http://127.0.0.1:{port}"}


def browser_usage(port):
    """Return `/admin/usage` once both requests are in it."""

    def ask():
        return get_json(port, "/admin/usage", "secret")

    assert eventually(lambda: ask()["total"]["requests"] == 2)
    return ask()
