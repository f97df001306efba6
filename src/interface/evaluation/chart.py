"""Evaluations as a picture: one bar for each measure and run, with its interval. Plain SVG, which needs no library."""

from collections.abc import Iterator, Sequence
from html import escape

from llm_backend.application.evaluating import Collection
from llm_backend.domain.measures import Estimate
from llm_backend.interface.evaluation.report import Run

COLOURS = ("#2f6f9f", "#d98324")
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 720, 130, 70, 70, 18, 16  # pixels


def chart_of(collection: Collection, runs: Sequence[Run]) -> str:
    """A complete SVG document."""
    measures = list(runs[0].evaluation.measures)
    band = BAR * len(runs) + GAP
    height = TOP + band * len(measures) + 40
    estimates = [run.estimates for run in runs]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        "<style>text { font: 13px sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="26">{escape(collection.name)}, {len(collection.queries)} questions</text>',
        *_legend(runs),
        *_grid(height - 40),
    ]
    for row, measure in enumerate(measures):
        top = TOP + row * band
        parts.append(f'<text x="{LEFT - 10}" y="{top + band / 2:g}" text-anchor="end">{escape(measure)}</text>')
        for number, of_run in enumerate(estimates):
            parts += _bar(of_run[measure], top + number * BAR, COLOURS[number % len(COLOURS)])
    return "\n".join([*parts, "</svg>\n"])


def _legend(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs):
        left = 16 + number * 340
        yield f'<rect x="{left}" y="40" width="12" height="12" fill="{COLOURS[number % len(COLOURS)]}"/>'
        timing = f"p50 {run.milliseconds(0.5):.1f} ms, p95 {run.milliseconds(0.95):.1f} ms"
        yield f'<text x="{left + 18}" y="51">{escape(run.name[-28:])} ({timing})</text>'


def _grid(bottom: int) -> Iterator[str]:
    for tenth in range(0, 11, 2):
        left = _place(tenth / 10)
        yield f'<line x1="{left:g}" y1="{TOP - 6}" x2="{left:g}" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{left:g}" y="{bottom + 18}" text-anchor="middle" fill="#666">{tenth / 10:g}</text>'


def _bar(estimate: Estimate, top: int, colour: str) -> Iterator[str]:
    middle = top + BAR / 2
    low, high, mean = map(_place, (estimate.low, estimate.high, estimate.mean))
    yield f'<rect x="{LEFT}" y="{top}" width="{mean - LEFT:.1f}" height="{BAR - 3}" fill="{colour}"/>'
    yield f'<line x1="{low:.1f}" y1="{middle:g}" x2="{high:.1f}" y2="{middle:g}" stroke="#222" stroke-width="2"/>'
    yield f'<text x="{WIDTH - RIGHT + 10}" y="{top + BAR - 6}">{estimate.mean:.4f}</text>'


def _place(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)
