"""The page at `/`: an HTML page for browsers that shows what runs here and how to use it, else a JSON document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from twisted.internet.defer import Deferred

from .pages import Allows, JSONPage, Page, Rendered, write_later, write_page

CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
)
"""The policy of every page that a browser shows: nothing from elsewhere, nothing inline."""

STYLE = b"""\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
pre { padding: .75rem 1rem; overflow-x: auto; border: 1px solid GrayText; border-radius: .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.good::before { content: "\\2713\\00a0"; }
.bad::before { content: "\\2717\\00a0"; }
.bad { font-weight: 600; }
"""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>openai-proxy</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="data:,">
</head>
<body>
<main>
<h1>openai-proxy</h1>
<p>This is a proxy for the OpenAI API. Programs use it by changing their base URL.</p>
{state}
<h2>Use it</h2>
<p>The base URL is <code>{base_url}</code>. For the official libraries and many tools, two variables are enough:</p>
<pre><code>export OPENAI_BASE_URL={base_url}
export OPENAI_API_KEY={key}</code></pre>
<p>Or try it from a terminal:</p>
<pre><code>curl {base_url}/models -H "Authorization: Bearer $OPENAI_API_KEY"</code></pre>
<h2>Look further</h2>
<ul>
{links}
</ul>
</main>
</body>
</html>
"""

_KEYS = {
    "pass-through": "your key for the upstream",
    "inject": "any text (the proxy has the key)",
    "tenants": "the key you were given for this proxy",
}
_LINKS = {
    "health": ("/health", "health: can the upstream be reached?"),
    "metrics": ("/metrics", "metrics for Prometheus"),
    "usage": ("/admin/usage", "usage and cost by key, model and day"),
    "dashboard": ("/dashboard", "dashboard: what runs now, what it costs, and how to stop it"),
}
_host = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_html = re.compile(
    rb"(?:^|,)[ \t]*(?:text/html|application/xhtml\+xml)[ \t]*(?:;[ \t]*q=(?P<q>[0-9.]{1,5}))?[ \t]*(?:[,;]|$)"
)

Health = tuple[bool, dict[str, Any]]


def wants_html(accept: bytes) -> bool:
    """Return whether the client's `Accept` names HTML; `*/*` does not count.

    >>> wants_html(b"text/html,application/xhtml+xml,*/*;q=0.8"), wants_html(b"*/*"), wants_html(b"text/html;q=0")
    (True, False, False)
    """
    found = _html.search(accept[:1024].lower())
    return found is not None and (found["q"] is None or found["q"].strip(b"0.") != b"")


def base_url(host: bytes | None, secure: bool) -> str:
    """Return the base URL by which the client reached the proxy; the default one without a usable Host.

    >>> base_url(b"proxy.example:8443", True), base_url(b"a/<b>", False)
    ('https://proxy.example:8443/v1', 'http://127.0.0.1:8080/v1')
    """
    if host is None or _host.fullmatch(host) is None:
        return "http://127.0.0.1:8080/v1"
    return f"{'https' if secure else 'http'}://{host.decode('ascii')}/v1"


def _rows(information: Mapping[str, Any], health: Health) -> str:
    reachable, details = health
    upstream = details.get("upstream", {})
    state = (
        "can be reached"
        if reachable
        else f"cannot be reached: {upstream.get('reason', 'no reason is known')}"
    )
    rows = [
        ("Version", str(information["version"]), ""),
        ("Mode", str(information["mode"]), ""),
        ("Upstream", str(upstream.get("url", "")), ""),
        ("State", f"the upstream {state}", "good" if reachable else "bad"),
    ]
    listed = "\n".join(
        f"<dt>{name}</dt><dd{f' class={kind!r}' if kind else ''}>{escape(text)}</dd>"
        for name, text, kind in rows
    )
    return f"<dl>\n{listed}\n</dl>"


def render_home(
    url: str, information: Mapping[str, Any], health: Health | None, pages: list[str]
) -> Rendered:
    """Return the page; without `health` it shows only public information.

    `pages` are the names of the pages that exist, of `health`, `metrics`,
    `usage` and `dashboard`.
    """
    links = "\n".join(f'<li><a href="{_LINKS[name][0]}">{_LINKS[name][1]}</a></li>' for name in pages)
    key = _KEYS.get(str(information.get("mode")), "a key") if health is not None else "a key"
    text = _PAGE.format(
        state="" if health is None else _rows(information, health),
        base_url=escape(url),
        key=f'"{escape(key)}"',
        links=links,
    )
    return "text/html; charset=utf-8", text.encode("utf-8")


class HomePage(JSONPage):
    """`GET /`: HTML for clients that name it in `Accept`, else the JSON document of JSONPage.

    The state of the upstream is determined first; only requests that may see
    the `details` are shown it.
    """

    def __init__(
        self,
        document: Callable[[], tuple[int, dict[str, Any]]],
        details: Allows,
        public: tuple[str, ...],
        health: Callable[[], Deferred[Health]],
        pages: Callable[[], list[str]],
    ) -> None:
        super().__init__(document, details, public)
        self._health = health
        self._pages = pages

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"Vary", b"Accept")
        if not wants_html(request.getHeader(b"accept") or b""):
            return super().render_GET(request)
        request.setHeader(b"Content-Security-Policy", CONTENT_SECURITY_POLICY)
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"X-Frame-Options", b"DENY")
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        url = base_url(request.getHeader(b"host"), request.isSecure())
        status, information = self._document()
        if not self._details(request):
            return write_page(request, status, render_home(url, information, None, ["health"]))

        def write(health: Health) -> None:
            write_page(request, status, render_home(url, information, health, self._pages()))

        return write_later(request, self._health(), write)


class StylePage(Page):
    """The style sheet of the pages; their policy allows no inline styles."""

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return write_page(request, 200, ("text/css; charset=utf-8", STYLE))
