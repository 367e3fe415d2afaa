"""Bars in SVG, drawn without a library: a group for each load, a bar for each contestant."""

from __future__ import annotations

from html import escape

COLOURS = {"openai-proxy": "#2563eb", "aiohttp": "#94a3b8", "nginx": "#64748b", "caddy": "#cbd5e1"}
NAME_WIDTH, BAR_WIDTH, BAR_HEIGHT, GAP = 110, 420, 18, 14


def bars(title: str, groups: dict[str, dict[str, float]]) -> str:
    """Return a drawing of `groups`: value by name, by label. The shorter the bar, the better."""
    most = max(value for values in groups.values() for value in values.values())
    parts: list[str] = []
    y = 34
    for label, values in groups.items():
        parts.append(f'<text x="0" y="{y + 12}" font-weight="bold">{escape(label)}</text>')
        y += BAR_HEIGHT + 4
        for name, value in values.items():
            width = max(1.0, BAR_WIDTH * value / most)
            shown = f"{value:,.0f}" if value >= 20 else f"{value:.2f}"
            parts.append(f'<text x="0" y="{y + 13}">{escape(name)}</text>')
            parts.append(
                f'<rect x="{NAME_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT - 3}"'
                f' fill="{COLOURS.get(name, "#94a3b8")}"/>'
            )
            parts.append(f'<text x="{NAME_WIDTH + width + 6:.1f}" y="{y + 13}">{shown}</text>')
            y += BAR_HEIGHT
        y += GAP
    width = NAME_WIDTH + BAR_WIDTH + 80
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" role="img"'
        f' aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13" fill="#334155">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="0" y="18" font-size="15" font-weight="bold">{escape(title)}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
