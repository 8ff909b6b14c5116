"""docs/pictures/speed.svg, made from the figures: a bar for each way, its spread as a line."""

from __future__ import annotations

from html import escape
from pathlib import Path

from bench.page import ROWS
from bench.results import Figure, Results
from bench.ways import WAYS

COLOURS = {
    "smallfleet": "#4c9f70",
    "pyinfra": "#5b8fc7",
    "ansible": "#d1495b",
    "mitogen": "#f2c14e",
    "floor": "#9a9a9a",
}
LEFT, WIDTH, BAR, GAP, HEAD = 190, 560, 16, 5, 26


def group(title: str, figures: list[Figure], top: int) -> tuple[list[str], int]:
    """The bars of one kind of run, scaled to the longest of them; and where the next group begins."""
    scale = WIDTH / max(max(figure.seconds) for figure in figures)
    parts = [f'<text x="{LEFT}" y="{top + 15}" font-size="13" font-weight="bold">{escape(title)}</text>']
    y = top + HEAD
    for figure in figures:
        name = WAYS[figure.way].title.replace("`", "")
        said = f"{figure.median:.0f} s" if figure.median >= 100 else f"{figure.median:.3g} s"
        length = figure.median * scale
        low, high = (LEFT + limit(figure.seconds) * scale for limit in (min, max))
        middle, colour = y + BAR / 2, COLOURS[figure.way]
        ends = [f"M{end:.1f} {y + 4}V{y + 12}" for end in (low, high)]
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 12}" font-size="12" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" fill="{colour}"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}{"".join(ends)}" stroke="#222" fill="none"/>',
            f'<text x="{high + 8:.1f}" y="{y + 12}" font-size="12">{said}</text>',
        ]
        y += BAR + GAP
    return parts, y + 12


def draw(results: Results) -> str:
    """The picture of the smallest fleet of eight or more droplets that was measured, else of any."""
    sizes = sorted({figure.droplets for figure in results.figures.values() if figure.seconds})
    droplets = next((size for size in sizes if size >= 8), sizes[-1] if sizes else 0)
    parts, top = [], 8
    for row in ("nothing", "template", "first"):
        delays = sorted(
            {f.delay for f in results.figures.values() if f.row == row and f.droplets == droplets}
        )
        for delay in delays:
            found = [results.figure(droplets, row, delay, way) for way in WAYS]
            figures = [figure for figure in found if figure and figure.seconds]
            if figures:
                late = f", {delay} ms of round trip added" if delay else ""
                bars, top = group(f"{droplets} droplets, {ROWS[row]}{late}", figures, top)
                parts += bars
    size = f'viewBox="0 0 {LEFT + WIDTH + 80} {top}"'
    style = 'font-family="system-ui, sans-serif" fill="#222"'
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{background}\n{body}\n</svg>\n'


def write(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(results))
