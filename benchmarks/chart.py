"""A bar chart of medians, as an SVG that stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from benchmarks.results import Outcome

__all__ = ["svg"]

WIDTH, LABEL, BAR, GAP, HEAD = 760, 210, 16, 5, 34
ROOM = WIDTH - LABEL - 110
OURS, PEER, INK = "#1a7f5a", "#a9b4c0", "#24292f"
STYLE = f"text{{font:12px system-ui,sans-serif;fill:{INK}}}.t{{font-weight:600}}"


def svg(outcomes: list[Outcome]) -> str:
    """Return the chart: one panel a job, one bar a command, ours first and in colour."""
    parts: list[str] = []
    top = 8
    for outcome in outcomes:
        parts += _panel(outcome, top)
        top += HEAD + len(outcome.samples) * (BAR + GAP)
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 8}" role="img">'
    title = "<title>Seconds, medians; shorter is better</title>"
    back = f'<rect width="{WIDTH}" height="{top + 8}" fill="#fff"/>'
    return "\n".join([frame, title, f"<style>{STYLE}</style>", back, *parts, "</svg>"]) + "\n"


def _panel(outcome: Outcome, top: int) -> Iterator[str]:
    yield f'<text class="t" x="8" y="{top + 22}">{escape(outcome.title)}, seconds</text>'
    longest = max(outcome.median(name, "seconds") for name in outcome.samples)
    ours = {each.name for each in outcome.plan.contestants if each.ours}
    for number, name in enumerate(outcome.samples):
        y = top + HEAD + number * (BAR + GAP)
        seconds = outcome.median(name, "seconds")
        length = max(1.0, ROOM * seconds / longest)
        colour = OURS if name in ours else PEER
        yield f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>'
        yield f'<text x="{LABEL + length + 6:.1f}" y="{y + 12}">{seconds:.2f}</text>'
