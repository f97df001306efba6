"""What a measurement reports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its unit, and the limit that it is meant to keep, if there is one; smaller is better."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def kept(self) -> bool:
        return self.limit is None or self.value <= self.limit


def table(figures: Sequence[Figure]) -> str:
    """As Markdown, so that it can be pasted into the README."""
    lines = ["| figure | value | limit | |", "|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, figures)])


def _row(figure: Figure) -> str:
    limit = "" if figure.limit is None else f"≤ {_text(figure.limit)} {figure.unit}"
    verdict = "" if figure.kept else "**missed** "
    return f"| {figure.name} | {_text(figure.value)} {figure.unit} | {limit} | {verdict}{figure.note} |"


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Iterable[float]) -> str:
    """The rounds from which a median was taken, for those who wonder how steady it is."""
    ordered = sorted(values)
    if len(ordered) < 2:
        return ""
    return f"{_text(ordered[0])} … {_text(ordered[-1])} over {len(ordered)} rounds"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


__all__ = ["Figure", "median", "percentile", "spread", "table"]
