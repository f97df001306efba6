"""Charts of office documents: their titles and numbers, which kreuzberg leaves out."""

from io import BytesIO
from itertools import zip_longest
from xml.etree import ElementTree as ET
from zipfile import ZipFile

from llm_backend.infrastructure.parsing.canvas import Canvas

CHARTED = frozenset({"docx", "pptx", "xlsx"})
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


def add_charts(canvas: Canvas, data: bytes) -> None:
    """Puts each chart at the end: kind and title, then a table with a row per category and a column per series."""
    canvas.appendix()
    with ZipFile(BytesIO(data)) as archive:
        for name in sorted(archive.namelist()):
            folder, _, file = name.rpartition("/")
            if folder.endswith("/charts") and file.startswith("chart") and file.endswith(".xml"):
                _add_chart(canvas, archive.read(name))


def _add_chart(canvas: Canvas, part: bytes) -> None:
    try:
        chart = ET.fromstring(part).find(f"{_C}chart")  # noqa: S314 - documents with declarations never get here
    except ET.ParseError:
        return  # a damaged chart is no reason to refuse the text
    if chart is None:
        return
    title = "".join(run.text or "" for run in chart.findall(f"{_C}title//{_A}t"))
    plots = [plot for plot in chart.findall(f"{_C}plotArea/*") if plot.tag.endswith("Chart")]
    for plot in plots:
        kind = plot.tag.removeprefix(_C).removesuffix("Chart")
        canvas.paragraph(f"{kind.capitalize()} chart: {title}" if title else f"{kind.capitalize()} chart")
        canvas.table(_numbers(plot))


def _numbers(plot: ET.Element) -> list[list[str]]:
    series = plot.findall(f"{_C}ser")
    if not series:
        return []
    names = ["".join(_values(one, "tx")) for one in series]
    categories = _values(series[0], "cat") or _values(series[0], "xVal")
    columns = [_values(one, "val") or _values(one, "yVal") for one in series]
    return [["", *names], *([*row] for row in zip_longest(categories, *columns, fillvalue=""))]


def _values(series: ET.Element, role: str) -> list[str]:
    return [value.text or "" for value in series.findall(f"{_C}{role}//{_C}v")]
