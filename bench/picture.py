"""Draws the results as a bar chart in SVG, without a library."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, LABEL, BAR, HEAD = 860, 270, 18, 30
COLOURS = {"ours": "#1f6feb", "before": "#79b8ff", "kernel": "#57606a"}
OTHER = "#c9a227"
UNITS = {"cpu": "µs CPU", "p99": "µs, p99", "memory": "KB a connection"}


def draw(medians: Mapping[tuple[str, str], Mapping[str, float]], labels: Mapping[str, str]) -> str:
    """Return an SVG with one group of bars per figure. Shorter bars are better.

    Shows CPU, memory, and the p99 of figures with 2,000 events per second.

    Args:
        medians: the values of the contestants, by figure and unit.
        labels: the contestants' labels by name, in the order of the bars.
    """
    parts: list[str] = []
    y = 10
    for (figure, unit), by_name in medians.items():
        if unit not in UNITS or (unit == "p99" and not figure.endswith("2000")):
            continue
        parts.append(f'<text x="10" y="{y + 17}" class="head">{escape(figure)}, {UNITS[unit]}</text>')
        y += HEAD
        most = max(by_name.values()) or 1
        for name, label in labels.items():
            if name not in by_name:
                continue
            value = by_name[name]
            width = max(value / most * (WIDTH - LABEL - 90), 1)
            parts.append(
                f'<text x="{LABEL - 8}" y="{y + 13}" class="label">{escape(label)}</text>'
                f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR - 4}" fill="{COLOURS.get(name, OTHER)}"/>'
                f'<text x="{LABEL + width + 6:.1f}" y="{y + 13}">{value:,.1f}</text>'
            )
            y += BAR
        y += 10
    style = "text{font:12px sans-serif;fill:#24292f}.head{font-weight:bold}.label{text-anchor:end}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
