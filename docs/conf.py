"""How Sphinx builds these pages: `.venv/bin/sphinx-build -W --keep-going -n docs build/docs`.

The pages are written for readers on GitHub too: plain Markdown, with relative links. Nothing is fetched for a build:
no inventories of other projects, no fonts, no scripts.
"""

import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from openai_proxy import __version__

project = "openai-proxy"
author = "the authors of openai-proxy"
release = version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["README.md"]
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = "openai-proxy"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

HERE = Path(__file__).parent
LINK = re.compile(r"\[([^\]\n]+)\]\(((?:\.\./)+[^)#\s]+)[^)\s]*\)")


def outside(page: Path, text: str) -> str:
    """Return a page whose links to files outside docs/, which GitHub can follow, are only their texts."""

    def shown(found: re.Match[str]) -> str:
        target = (page.parent / found[2]).resolve()
        return found[0] if target.is_relative_to(HERE) else found[1]

    return LINK.sub(shown, text)


def read_source(app: Sphinx, name: str, source: list[str]) -> None:
    """Called by Sphinx with each page before it is parsed."""
    source[0] = outside(HERE / f"{name}.md", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx: drawings in Mermaid, which GitHub draws, are shown as their text."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", read_source)
