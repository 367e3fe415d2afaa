"""Client keys made at run time: in a real Redis, and over the workers of a real daemon."""

import json

import pytest
import pytest_twisted
from twisted.internet import reactor
from world.browser import Browser
from world.client import ask
from world.daemon import configured
from world.requests import post
from world.services import PATIENT_S
from world.waiting import until
from world.workers import clients_of_each

from openai_proxy.daemon.key_store.loaded_keys import LoadedKeys
from openai_proxy.daemon.key_store.redis_keys import RedisKeys
from openai_proxy.exchange.errors import KeyStoreUnavailable
from openai_proxy.exchange.page_errors import KeyExists
from openai_proxy.net.redis_client import RedisClient
from openai_proxy.net.redis_url import parse_redis_url
from openai_proxy.settings.stored_keys import changes

CONFIG = """
[admin]
token = "the-admin-token"
[key_store]
url = "sqlite:keys.sqlite3"
"""


@pytest_twisted.async_yield_fixture
async def machines(redis):
    """Two processes over one Redis."""
    clients = [RedisClient(reactor, parse_redis_url(redis.url), deadline_s=PATIENT_S) for _ in range(2)]
    machines = [LoadedKeys(RedisKeys(client), reactor) for client in clients]
    for client, keys in zip(clients, machines, strict=True):
        client.start()
        keys.start()
    await until(lambda: all(keys.is_complete for keys in machines))
    yield machines
    for client, keys in zip(clients, machines, strict=True):
        await keys.stop()
        await client.stop()


def make(keys, name):
    record, _ = changes.made({"name": name, "note": "ü"}, "sk-proxy-" + name, 0.0)
    return keys.change(name, lambda old: changes.only_if_new(old, record))


@pytest_twisted.ensureDeferred
async def test_two_machines_share_their_keys(machines, redis):
    """Made here, known there; made twice, refused; revoked there, gone here; away, kept."""
    one, two = machines
    made = await make(one, "a/b ü")
    await until(lambda: two.records == {"a/b ü": made})
    with pytest.raises(KeyExists):
        await make(two, "a/b ü")
    one.note_use("a/b ü", 600.0)
    await one._write_uses()
    assert await two.uses() == {"a/b ü": 10}
    await two.change("a/b ü", lambda old: None)
    await until(lambda: one.records == {})
    assert await two.uses() == {}
    two.note_use("bob", 600.0)  # an exchange that ends after its key was deleted
    await two._write_uses()
    await make(one, "bob")
    assert await one.uses() == {}
    redis.kill()
    with pytest.raises(KeyStoreUnavailable):
        await make(one, "carol")
    assert sorted(one.records) == ["bob"]


def change(port, method, path, document=None):
    body = b"" if document is None else json.dumps(document).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer the-admin-token\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = ask(port, head.encode() + body)
    return answer.status, json.loads(answer.body) if answer.body else None


def statuses(clients, key):
    """Return what each worker answers to a key, by one connection to each."""
    found = []
    for client in clients.values():
        client.send(post(key))
        found.append(client.response().status)
    return found


def test_a_key_holds_in_every_worker_when_its_change_is_answered(start, tmp_path):
    """Made, blocked, replaced and revoked; no file of the daemon has a secret."""
    options = configured(tmp_path, CONFIG)["options"]
    world = start(options=["--workers", "2", *options], env={"OPENAI_API_KEY": "sk-upstream"})
    clients = clients_of_each(world.daemon, world.port)
    status, key = change(world.port, "POST", "/admin/keys", {"name": "alice"})
    assert status == 201
    assert statuses(clients, key["key"]) == [200, 200]
    assert change(world.port, "PATCH", "/admin/keys/alice", {"blocked": True})[0] == 200
    assert statuses(clients, key["key"]) == [403, 403]
    assert change(world.port, "PATCH", "/admin/keys/alice", {"blocked": None})[0] == 200
    _, second = change(world.port, "POST", "/admin/keys/alice/rotate")
    assert statuses(clients, key["key"]) == [401, 401]
    assert statuses(clients, second["key"]) == [200, 200]
    assert change(world.port, "DELETE", "/admin/keys/alice") == (204, None)
    assert statuses(clients, second["key"]) == [401, 401]
    for client in clients.values():
        client.close()
    secrets = [each["key"].encode() for each in (key, second)]
    for file in world.daemon.directory.iterdir():
        assert not any(secret in file.read_bytes() for secret in secrets), file


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


def test_the_page_of_who_holds_a_key(start, tmp_path, browser):
    """The key is typed into it, goes in a header, and stands in no URL; a name that looks like HTML is text."""
    name = "<img src=x onerror=alert(1)>"
    world = start(**configured(tmp_path, CONFIG), env={"OPENAI_API_KEY": "sk-upstream"})
    _, key = change(world.port, "POST", "/admin/keys", {"name": name, "limits": {"requests_per_minute": 60}})
    ask(world.port, post(key["key"]))
    browser.open(f"http://127.0.0.1:{world.port}/key")
    browser.run('document.getElementById("key").value = "sk-proxy-wrong"')
    browser.run('document.querySelector("button").click()')
    browser.until('document.getElementById("message").textContent.includes("Incorrect API key")')
    browser.run(f'document.getElementById("key").value = "{key["key"]}"')
    browser.run('document.querySelector("button").click()')
    browser.until('!document.getElementById("found").hidden')
    assert browser.run('document.getElementById("name").textContent') == name
    assert browser.run('document.querySelectorAll("img").length') == 0
    assert "requests a minute" in browser.run('document.getElementById("limits").textContent')
    assert "gpt-4o-mini" in browser.run('document.getElementById("usage").textContent')
    urls = [url for url in browser.asked if not url.startswith("data:")]
    assert all(url.startswith(f"http://127.0.0.1:{world.port}/") for url in urls)
    assert not [url for url in urls if "sk-proxy" in url]
    # the browser itself writes a 401 to the console
    assert [each for each in browser.complaints if "401" not in each] == []
