"""The screen of `openai-proxy top`, on Textual. Only `top` imports it, because the extra [top] may be missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from .admin_client import AdminClient, NotReachable, Refused
from .cancel import NOT_FOUND, cancel
from .exchanges import COLUMNS, SORTS, LiveTable, arranged, cells, headline
from .terminal import printable

_AGAIN_S = 2.0
"""The delay between attempts to reach a proxy that is gone."""


class Ask(ModalScreen[bool]):
    """Asks whether an exchange should be cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("n,escape,q", "dismiss(False)", "no"),
    ]
    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask Static { width: auto; max-width: 90%; padding: 1 2; border: round $warning; background: $surface; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{self._question}\n\ny: yes   n: no"))


class TopScreen(App[None]):
    """Shows a table that a thread keeps up to date from the event stream; a stream that ends is opened again."""

    TITLE = "openai-proxy top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "cancel"),
        Binding("s", "sort", "sort"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "no_filter", "all", show=False),
        Binding("q", "quit", "quit"),
    ]
    CSS = """
    #head { height: 1; padding: 0 1; text-style: bold; }
    #note { height: 1; padding: 0 1; color: $text-muted; }
    #filter { display: none; height: 3; }
    DataTable { height: 1fr; }
    """

    def __init__(self, client: AdminClient) -> None:
        super().__init__()
        self._client = client
        self._live = LiveTable()
        self._sort = SORTS[0]
        self._wanted = ""
        self._trouble = ""
        self._said = ""
        self._left = Event()
        self._cut: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield DataTable(id="table", cursor_type="row", zebra_stripes=True)
        yield Static(id="note")
        yield Input(placeholder="a text in any column; Enter keeps it, Escape shows all", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for name in COLUMNS:
            table.add_column(name, key=name)
        table.focus()
        self.run_worker(self._read, thread=True, exclusive=True)
        self.set_interval(0.5, self._draw)

    def on_unmount(self) -> None:
        self._left.set()
        self._cut()  # otherwise the exit would wait for the thread, which waits for a silent proxy

    # ---- the thread

    def _opened(self, cut: Callable[[], None]) -> None:
        self._cut = cut
        if self._left.is_set():
            cut()

    def _read(self) -> None:
        while not self._left.is_set():
            try:
                for data in self._client.read_along("/admin/live", self._opened):
                    if self._left.is_set():
                        return
                    self.call_from_thread(self._take, data)
                reason = "the proxy has closed the connection"
            except (NotReachable, Refused) as error:
                reason = printable(error)
            except RuntimeError:  # the screen is gone
                return
            if not self._left.is_set():
                self.call_from_thread(self._lost, reason)
            self._left.wait(_AGAIN_S)

    def _take(self, data: bytes) -> None:
        self._trouble = ""
        self._live.feed(data, time.monotonic())

    def _lost(self, reason: str) -> None:
        self._live = LiveTable()
        self._trouble = f"{reason}; trying again"

    # ---- the display

    def _draw(self) -> None:
        if isinstance(self.screen, ModalScreen):  # the exchange in question must not move
            return
        table = self.query_one(DataTable)
        now = time.monotonic()
        rows = self._live.rows(now)
        shown = arranged(rows, self._sort, self._wanted)
        running = sum(row.get("state") != "ended" for row in rows)
        chosen, cursor = self._chosen(), table.cursor_row
        table.clear()
        for row in shown:
            style = "dim" if row.get("state") == "ended" else ""
            table.add_row(*(Text(cell, style=style) for cell in cells(row)), key=row["id"])
        ids = [row["id"] for row in shown]
        if ids:
            at = ids.index(chosen) if chosen in ids else min(cursor, len(ids) - 1)
            table.move_cursor(row=at, animate=False)
        self.query_one("#head", Static).update(Text(self._trouble or headline(self._live.stats, running)))
        only = f", only with {printable(self._wanted)!r}" if self._wanted else ""
        self.query_one("#note", Static).update(Text(self._said or f"sorted by {self._sort}{only}"))

    def _chosen(self) -> str | None:
        table = self.query_one(DataTable)
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    # ---- keys

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._said = ""
        self._draw()

    def action_filter(self) -> None:
        """Ask for the filter's text."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.focus()

    def action_no_filter(self) -> None:
        """Remove the filter."""
        self._filtered("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._filtered(event.value)

    def _filtered(self, text: str) -> None:
        self._wanted = text
        box = self.query_one("#filter", Input)
        box.value = text
        box.display = False
        self.query_one(DataTable).focus()
        self._draw()

    def action_cancel(self) -> None:
        """Ask, then cancel the exchange under the cursor."""
        id = self._chosen()
        rows: dict[str, Any] = {row["id"]: row for row in self._live.rows(time.monotonic())}
        if id is None or id not in rows:
            return
        if rows[id].get("state") == "ended":
            self._tell(f"{printable(id)} has ended")
            return
        shown = dict(zip(COLUMNS, cells(rows[id]), strict=True))
        question = f"Cancel {shown['id']}?\n{shown['endpoint']} {shown['model']} of {shown['key']}, {shown['age']} old"

        def answered(wanted: bool | None) -> None:
            if wanted:
                self.run_worker(lambda: self._cancel(id), thread=True)

        self.push_screen(Ask(question), answered)

    def _cancel(self, id: str) -> None:
        try:
            cancel(self._client, id)
            said = f"{printable(id)} is cancelled"
        except Refused as refused:
            said = f"{printable(id)} has ended" if refused.code == NOT_FOUND else printable(refused)
        except NotReachable as error:
            said = printable(error)
        self.call_from_thread(self._tell, said)

    def _tell(self, said: str) -> None:
        self._said = said
        self._draw()
