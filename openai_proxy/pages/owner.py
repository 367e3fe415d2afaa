"""`/key`: the report for the holder of a client key, as JSON for programs and as a page for browsers.

The page itself contains no data: its script requests the report, with the key
that the user has entered in a header. So a key is never part of a URL, which
logs and histories keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from ..exchange.errors import UnknownURL
from ..exchange.page_errors import InvalidValue
from ..exchange.record import HeaderPairs
from .home import CONTENT_SECURITY_POLICY, wants_html
from .pages import Page, Rendered, write_later, write_page

DAYS, MOST_DAYS = 30, 92

HTML = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Your key - openai-proxy</title>
<link rel="stylesheet" href="/style.css">
<link rel="stylesheet" href="/key/style.css">
<link rel="icon" href="data:,">
<script src="/key/app.js" defer></script>
</head>
<body>
<main>
<h1>Your key</h1>
<p>What your key for this proxy may do, what is left of its limits and budgets, and what it has used.</p>
<noscript><p>This page needs JavaScript. Programs can ask: curl -H "Authorization: Bearer $OPENAI_API_KEY" .../key</p></noscript>
<form id="ask">
<label for="key">Key</label>
<input id="key" type="password" autocomplete="off" spellcheck="false" required>
<label for="days">Days</label>
<input id="days" type="number" min="1" max="92" value="30" required>
<button type="submit">Show</button>
</form>
<p id="message" role="status" aria-live="polite"></p>
<div id="found" hidden>
<h2 id="name" tabindex="-1"></h2>
<dl id="rules"></dl>
<h2>Budgets</h2>
<table id="budgets"><thead><tr><th scope="col">Of</th><th scope="col">Period</th><th scope="col">Budget</th><th scope="col">Spent</th><th scope="col">Set aside</th><th scope="col">Left</th><th scope="col">Starts anew</th></tr></thead><tbody></tbody></table>
<h2>Limits</h2>
<table id="limits"><thead><tr><th scope="col">Of</th><th scope="col">Limit</th><th scope="col">Left</th></tr></thead><tbody></tbody></table>
<h2>Use</h2>
<table id="usage"><thead><tr><th scope="col">Day (UTC)</th><th scope="col">Model</th><th scope="col">Requests</th><th scope="col">Input tokens</th><th scope="col">Output tokens</th><th scope="col">Cost</th></tr></thead><tbody></tbody></table>
</div>
</main>
</body>
</html>
"""

STYLE = b"""\
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
input, button { font: inherit; padding: .3rem .5rem; }
#key { flex: 1 1 16rem; min-width: 0; }
#days { width: 5rem; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid GrayText; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
[hidden] { display: none; }
"""

SCRIPT = b"""\
"use strict";
const byId = (id) => document.getElementById(id);
const dollars = (value) => "$" + value.toFixed(value && value < 0.01 ? 6 : 2);
const whole = (value) => value.toLocaleString();

function fill(id, rows, empty) {
  const body = byId(id).tBodies[0];
  body.replaceChildren();
  if (!rows.length) rows = [[empty]];
  for (const row of rows) {
    const line = body.insertRow();
    for (const [at, value] of row.entries()) {
      const cell = line.insertCell();
      cell.textContent = String(value);
      if (at > 0 && /^[$]?[0-9][0-9.,\\s]*$/.test(cell.textContent)) cell.className = "number";
    }
  }
}

function rule(name, value) {
  const term = document.createElement("dt");
  const text = document.createElement("dd");
  term.textContent = name;
  text.textContent = value;
  byId("rules").append(term, text);
}

function show(key) {
  byId("name").textContent = key.name;
  byId("rules").replaceChildren();
  rule("Models", key.models ? key.models.join(", ") || "none" : "all");
  rule("Endpoints", key.endpoints ? key.endpoints.join(", ") : "all");
  rule("Expires", key.expires || "never");
  if (key.group) rule("Group", key.group);
  fill("budgets", key.budgets.map((each) => [each.name ? each.of + " " + each.name : each.of, each.period,
    dollars(each.budget_usd), dollars(each.spent_usd), dollars(each.reserved_usd), dollars(each.remaining_usd), each.resets_at]), "none");
  const limits = [];
  for (const [name, each] of Object.entries(key.limits))
    if (each) limits.push([name === "concurrent" ? "requests at once" : name + " a minute", whole(each.limit), whole(each.remaining)]);
  fill("limits", limits, "none");
  fill("usage", key.usage.map((each) => [each.day, each.model || "-", whole(each.requests),
    whole(each.input_tokens), whole(each.output_tokens), dollars(each.cost_usd)]), "nothing");
  byId("found").hidden = false;
  byId("name").focus();
}

byId("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("found").hidden = true;
  byId("message").textContent = "Asking ...";
  try {
    const answer = await fetch("/key?days=" + encodeURIComponent(byId("days").value), {
      headers: { Authorization: "Bearer " + byId("key").value.trim(), Accept: "application/json" },
      cache: "no-store", credentials: "omit", redirect: "error",
    });
    const document_ = await answer.json();
    if (!answer.ok) throw new Error(document_.error.message);
    byId("message").textContent = "";
    show(document_);
  } catch (error) {
    byId("message").textContent = error.message;
  }
});
"""


class OwnerReport(Protocol):
    """The report on the key that a request shows."""

    async def answer(self, headers: HeaderPairs, client_address: str | None, days: int) -> dict[str, Any]:
        """Return the document of `GET /key`; raises the ProxyError that refuses it."""
        ...


class OwnerPage(Page):
    """`/key`; not found if `is_there` returns False."""

    def __init__(self, report: OwnerReport, is_there: Callable[[], bool]) -> None:
        super().__init__()
        self._report = report
        self._is_there = is_there
        self.putChild(b"app.js", _Asset("text/javascript; charset=utf-8", SCRIPT, is_there))
        self.putChild(b"style.css", _Asset("text/css; charset=utf-8", STYLE, is_there))

    def getChild(self, path: bytes, request: Any) -> Resource:
        raise UnknownURL

    def render_GET(self, request: Any) -> int:
        if not self._is_there():
            raise UnknownURL
        request.setHeader(b"Vary", b"Accept, Authorization")
        shows_key = request.getHeader(b"authorization") is not None
        if not shows_key and wants_html(request.getHeader(b"accept") or b""):
            return _write_asset(request, ("text/html; charset=utf-8", HTML))
        days = _days(request.args.get(b"days", [b"%d" % DAYS])[-1])
        exchange = request.exchange
        asked = Deferred.fromCoroutine(
            self._report.answer(exchange.request_headers or [], exchange.client_address, days)
        )
        return write_later(
            request,
            asked,
            lambda found: write_page(request, 200, ("application/json", orjson.dumps(found) + b"\n")),
        )


class _Asset(Page):
    def __init__(self, content_type: str, data: bytes, is_there: Callable[[], bool]) -> None:
        super().__init__()
        self._page = (content_type, data)
        self._is_there = is_there

    def render_GET(self, request: Any) -> int:
        if not self._is_there():
            raise UnknownURL
        return _write_asset(request, self._page)


def _write_asset(request: Any, page: Rendered) -> int:
    request.setHeader(b"Content-Security-Policy", CONTENT_SECURITY_POLICY)
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.setHeader(b"X-Frame-Options", b"DENY")
    request.setHeader(b"Referrer-Policy", b"no-referrer")
    return write_page(request, 200, page)


def _days(text: bytes) -> int:
    if not text.isdigit() or len(text) > 3 or not 1 <= int(text) <= MOST_DAYS:
        raise InvalidValue(f"days must be a whole number from 1 to {MOST_DAYS}.", param="days")
    return int(text)
