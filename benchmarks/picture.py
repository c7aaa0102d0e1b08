"""Draws bar charts as SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_WIDTH = 720
_LABELS = 230
_LINE = 26
_BAR = 16
_VALUES = 60

# Text is lighter on dark pages; the background is transparent.
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.bar { fill: #9aa4af; }
.ours { fill: #1a73e8; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .bar { fill: #6e7781; }
  .ours { fill: #6ea8fe; }
}
""".strip()


def draw_bars(groups: Mapping[str, Mapping[str, float]], *, ours: str) -> str:
    """Return an SVG with a group of bars under each title, scaled to the longest bar.

    Args:
        groups: for each title, the labels and lengths of its bars.
        ours: text in the labels of the bars to highlight.
    """
    parts: list[str] = []
    said: list[str] = []
    top = 0
    for title, bars in groups.items():
        top += _LINE
        parts.append(f'<text class="title" x="0" y="{top - 8}">{escape(title)}</text>')
        longest = max(bars.values())
        for label, value in bars.items():
            length = value / longest * (_WIDTH - _LABELS - _VALUES)
            kind = "bar ours" if ours in label else "bar"
            parts += [
                f'<text x="{_LABELS - 10}" y="{top + 13}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{length:.0f}" '
                f'height="{_BAR}" rx="2"/>',
                f'<text x="{_LABELS + length + 8:.0f}" y="{top + 13}">{value:.2f}</text>',
            ]
            top += _LINE
        said.append(
            f"{title}: " + ", ".join(f"{label} {value:.2f}" for label, value in bars.items())
        )
        top += _LINE // 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
        f'width="{_WIDTH}" height="{top}" role="img">'
    )
    described = f"<title>{escape('; '.join(said))}</title>"
    return "\n".join([head, described, f"<style>\n{_STYLE}\n</style>", *parts, "</svg>", ""])
