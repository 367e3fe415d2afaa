"""The screen of `openai-proxy top`, driven by its keys, at a proxy whose answers are written here."""

import asyncio
import time

import pytest
from world.scripted_proxy import ended, event, row, scripted_proxy
from world.waiting import PATIENCE_S

pytest.importorskip("textual", reason="pip install textual")

from textual.widgets import DataTable, Static

from openai_proxy.command.admin_client import AdminClient
from openai_proxy.command.top_screen import TopScreen

ROWS = [row("slow", age_s=90.0, model="gpt-4o"), row("fast", model="[b]o3[/b]"), ended("gone", key="bob")]
EVENTS = event("snapshot", {"exchanges": ROWS, "stats": {"requests_per_s": 1.5}})


def drive(client, act):
    """Run the screen, and `act` upon it."""

    async def run():
        app = TopScreen(client)
        async with app.run_test(size=(140, 24)) as pilot:
            await act(app, pilot)

    asyncio.run(run())


async def until(pilot, holds):
    """Wait for what a thread brings about."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        await pilot.pause(0.02)


def ids(app):
    return [key.value for key in app.screen_stack[0].query_one(DataTable).rows]


def text_of(app, name):
    return str(app.screen_stack[0].query_one(f"#{name}", Static).render())


@pytest.fixture
def proxy():
    with scripted_proxy() as server:
        server.events = EVENTS
        yield server
        server.closing.set()


def test_it_shows_sorts_and_filters(proxy):
    """By its keys; text of strangers is no markup."""

    async def act(app, pilot):
        await until(pilot, lambda: ids(app) == ["slow", "fast", "gone"])
        assert text_of(app, "head") == "2 in flight, 1.5 requests/s"
        table = app.query_one(DataTable)
        assert str(table.get_cell("fast", "model")) == "[b]o3[/b]"
        await pilot.press("s", "s")
        assert text_of(app, "note") == "sorted by model"
        assert ids(app) == ["fast", "slow", "gone"]
        await pilot.press("slash", *"bob", "enter")
        assert ids(app) == ["gone"]
        await pilot.press("escape")
        assert len(ids(app)) == 3
        proxy.closing.set()

    drive(AdminClient(proxy.url, None, "secret"), act)
    assert proxy.asked == [("GET", "/admin/live", "Bearer secret")]


def test_it_cancels_what_is_under_the_cursor_when_that_is_wanted(proxy):
    """It asks; n changes nothing; what has ended is not asked about."""
    proxy.answers = [(202, {"id": "fast", "state": "cancelling"})]

    async def act(app, pilot):
        await until(pilot, lambda: len(ids(app)) == 3)
        await pilot.press("down", "c")
        assert len(app.screen_stack) == 2
        await pilot.press("n")
        assert len(app.screen_stack) == 1
        await pilot.press("c", "y")
        await until(pilot, lambda: text_of(app, "note") == "fast is cancelled")
        await pilot.press("down", "c")
        assert (text_of(app, "note"), len(app.screen_stack)) == ("gone has ended", 1)
        proxy.closing.set()

    drive(AdminClient(proxy.url), act)
    assert [each[:2] for each in proxy.asked if each[0] == "DELETE"] == [("DELETE", "/admin/exchanges/fast")]


def test_a_proxy_that_goes_is_said_and_asked_again(proxy):
    """The screen stays; what it showed may not be true any more."""
    proxy.closing.set()  # each answer ends at once

    async def act(app, pilot):
        await until(pilot, lambda: "trying again" in text_of(app, "head"))
        assert ids(app) == []
        await pilot.press("q")

    drive(AdminClient(proxy.url), act)


def test_it_leaves_at_once_though_the_proxy_says_nothing_more(proxy):
    """Nobody waits for a machine that hangs."""

    async def act(app, pilot):
        await until(pilot, lambda: len(ids(app)) == 3)
        await pilot.press("q")

    began = time.monotonic()
    drive(AdminClient(proxy.url), act)
    assert not proxy.closing.is_set()
    assert time.monotonic() - began < 15  # the next event would come after 30 s
