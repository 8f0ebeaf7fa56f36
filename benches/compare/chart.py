"""From the raw rounds of one run to a picture: a dot with its interval per row, peer and build of weir.

The scale is logarithmic, so that twice and half the cost are equally far from 1. The sizes are
those of a narrow screen: all of it can be read at a width of 400 pixels."""

import math
from html import escape

from report import builds, peers_of
from rounds import interval, ratios

WIDTH, LEFT, COLUMN, EDGE = 560, 142, 58, 16
HEAD, TITLE, LINE, LANE = 96, 30, 22, 7
TICKS = (0.5, 0.75, 1, 1.5, 2, 3)
LOW, HIGH = 0.4, 4.0
CLASSES = {"weir": "plain", "weir trained": "trained", "weir release": "quick"}
STYLE = (
    ".card{{fill:{paper};stroke:{border}}}text{{font:15px ui-sans-serif,system-ui,'Segoe UI',sans-serif;fill:{text}}}"
    ".strong{{font-weight:600;fill:{strong};paint-order:stroke;stroke:{paper};stroke-width:5px}}"
    ".grid{{stroke:{grid}}}.one{{stroke:{axis};stroke-width:1.5}}"
    ".plain{{fill:{plain};stroke:{plain}}}.trained{{fill:{trained};stroke:{trained}}}"
    ".quick{{fill:{quick};stroke:{quick}}}text.plain,text.trained,text.quick{{stroke:none}}"
)
LIGHT = {
    "border": "#d0d7de", "paper": "#ffffff", "text": "#57606a",
    "strong": "#1f2328", "grid": "#eaeef2",
    "axis": "#8c959f", "plain": "#0969da", "trained": "#1a7f37", "quick": "#9a6700",
}
DARK = {
    "border": "#30363d", "paper": "#0d1117", "text": "#9198a1",
    "strong": "#f0f6fc", "grid": "#21262d",
    "axis": "#6e7681", "plain": "#58a6ff", "trained": "#3fb950", "quick": "#d29922",
}


def svg(run):
    """The whole picture."""
    shown = builds(run)
    right = WIDTH - EDGE - COLUMN * len(shown)
    body, y, last = [], HEAD, None
    for comparison in run["comparisons"]:
        title = comparison["scenario"]["title"].replace("`", "")
        if title != last:
            y += TITLE
            body.append(text(EDGE, y - 8, title, "strong"))
        for peer in peers_of(comparison, "weir"):
            body += row(comparison, peer, shown, y, right)
            y += height(shown)
        last = title
    bottom = y + 8
    parts = [*frame(bottom + 40), *legend(run, shown), *grid(bottom, right), *body]
    return "\n".join(parts) + "\n</svg>\n"


def frame(bottom):
    light, dark = STYLE.format(**LIGHT), STYLE.format(**DARK)
    size = f'width="{WIDTH}" height="{bottom}" viewBox="0 0 {WIDTH} {bottom}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield "<title>CPU time of each peer over that of weir, with 95 % intervals</title>"
    yield f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"
    yield f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{bottom - 1}" rx="10"/>'


def legend(run, shown):
    yield text(EDGE, 28, "Cost of each peer over that of weir", "strong")
    yield text(EDGE, 50, f"{run['date'][:10]}, {run['rounds']} rounds. Right of 1: weir is cheaper.")
    x = WIDTH - EDGE - COLUMN * len(shown)
    for build in shown:
        yield text(x + COLUMN, 72, build.split()[-1] if len(shown) > 1 else "ratio", CLASSES[build], "end")
        x += COLUMN


def grid(bottom, right):
    """The lines of the scale, with their numbers above and below."""
    for tick in TICKS:
        x = place(tick, right)
        yield f'<path class="{"one" if tick == 1 else "grid"}" d="M{x:.1f} {HEAD}V{bottom}"/>'
        yield text(x, HEAD - 6, f"{tick:g}", "", "middle")
        yield text(x, bottom + 20, f"{tick:g}", "", "middle")


def height(shown):
    return max(LINE, LANE * (len(shown) + 1))


def row(comparison, peer, shown, y, right):
    """One peer: its name, a dot with an interval for each build, the ratios as numbers."""
    middle = y + height(shown) / 2
    yield text(EDGE + 8, middle + 5, peer)
    present = [build for build in shown if peer in peers_of(comparison, build)]
    for at, build in enumerate(present):
        value, low, high = interval(ratios(comparison["rounds"], peer, build))
        lane = middle + LANE * (at - (len(present) - 1) / 2)
        yield mark(value, low, high, lane, CLASSES[build], right)
        column, digits = right + COLUMN * (shown.index(build) + 1), ".3g" if value >= 10 else ".2f"
        yield text(column, middle + 5, f"{value:{digits}}", CLASSES[build], "end")


def mark(value, low, high, y, kind, right):
    """A dot with its interval, or an arrow where it lies beyond the scale."""
    begin, end, x = (place(number, right) for number in (low, high, value))
    line = f'<path class="{kind}" stroke-width="2" d="M{begin:.1f} {y:.1f}H{end:.1f}"/>'
    if LOW < value < HIGH:
        return f'{line}<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    tip = 6 if value >= HIGH else -6
    return f'{line}<path class="{kind}" d="M{x + tip:.1f} {y:.1f}L{x:.1f} {y - 4:.1f}V{y + 4:.1f}Z"/>'


def place(number, right):
    """The horizontal place of a ratio, at the end of the scale for one beyond it."""
    number = min(max(number, LOW), HIGH)
    return LEFT + (right - LEFT) * math.log(number / LOW) / math.log(HIGH / LOW)


def text(x, y, words, kind="", anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
