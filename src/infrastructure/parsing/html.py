"""HTML to blocks, with the parser of the standard library: converters to Markdown leave their marks in quotations and
drop what stands outside paragraphs."""

import re
from html.parser import HTMLParser

from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.infrastructure.parsing.canvas import Canvas, one_line

_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "nav", "title"})
# fmt: off
_INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i",
    "img", "input", "ins", "kbd", "label", "mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span",
    "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
})
# fmt: on
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,30})", re.IGNORECASE
)


def declared_charset(data: bytes) -> str:
    found = _CHARSET.search(data[:4096])
    return found[1].decode() if found else ""


def read_html(text: str, longest: int) -> ParsedDocument:
    canvas = Canvas(longest)
    title = add_html(canvas, text)
    return canvas.document("html", title)


def add_html(canvas: Canvas, text: str) -> str:
    """What one sees of it. Return its title."""
    reader = _Reader(canvas)
    reader.feed(text)
    reader.close()
    return reader.title


class _Table:
    """A table being read, and the text that stood before it in the cell it is nested in."""

    def __init__(self, before: list[str]) -> None:
        self.before = before
        self.rows: list[list[str]] = [[]]


class _Reader(HTMLParser):
    """Collects text until a block begins or ends, and puts it on the canvas as what it was."""

    def __init__(self, canvas: Canvas) -> None:
        super().__init__()
        self.canvas = canvas
        self.title = ""
        self._text: list[str] = []
        self._tables: list[_Table] = []
        self._unseen: list[str] = []
        self._preformatted = 0
        self._item = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag == "br":
            self._text.append("\n")
        elif tag == "img":
            self._text.append(dict(attrs).get("alt") or "")
        elif tag not in _INLINE:
            self._flush()
            self._begin(tag)

    def _begin(self, tag: str) -> None:
        match tag:
            case "table":
                self._tables.append(_Table(self._text))
                self._text = []
            case "tr" if self._tables:
                self._end_cell()
                self._tables[-1].rows.append([])
            case "td" | "th" if self._tables:
                self._end_cell()
            case "pre":
                self._preformatted += 1
            case "li" | "dd":
                self._item = True
            case _:
                pass

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._leave_unseen(tag)
        elif tag in _HEADINGS and not self._tables:
            self.canvas.heading("".join(self._text), _HEADINGS[tag])
            self._text = []
        elif tag not in _INLINE and tag != "br":
            self._flush()
            self._end(tag)

    def _end(self, tag: str) -> None:
        match tag:
            case "table" if self._tables:
                self._end_table()
            case "td" | "th" | "tr" if self._tables:
                self._end_cell()
            case "pre":
                self._preformatted = max(0, self._preformatted - 1)
            case "li" | "dd":
                self._item = False
            case _:
                pass

    def handle_data(self, data: str) -> None:
        if self._unseen:
            self.title += data if self._unseen == ["title"] and not self.title else ""
        elif self._preformatted:
            self._text.append(data)
        else:
            self._text.append(re.sub(r"\s+", " ", data))

    def close(self) -> None:
        super().close()
        while self._tables:
            self._end_table()
        self._flush()

    def _leave_unseen(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]

    def _flush(self) -> None:
        """End a paragraph. Inside a cell it stays part of the cell."""
        if self._tables:
            self._text.append(" ")
            return
        text = "".join(self._text)
        self._text = []
        if self._item and text.strip():
            self.canvas.line(f"- {one_line(text)}")
            self._item = False
        else:
            self.canvas.paragraph(text if self._preformatted else _tidied(text))

    def _end_cell(self) -> None:
        cell = one_line("".join(self._text))
        self._text = []
        if cell:
            self._tables[-1].rows[-1].append(cell)

    def _end_table(self) -> None:
        self._end_cell()
        table = self._tables.pop()
        self.canvas.table(table.rows)
        self._text = table.before


def _tidied(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n"))
