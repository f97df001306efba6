"""The lines of a PDF as they are written in it.

Between paragraphs and headings, which it finds well, kreuzberg 4.10 "repairs" ligatures: `price*` becomes `pricett`,
`page.html#top` becomes `page.htmlfitop`. That is right for a few fonts of TeX and wrong for everything else. The plain
text of a page is spared, so its lines take the place of the repaired ones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SUSPECT = re.compile(r"[!\"#$%&*]")
_BROKEN_FONT = re.compile(r"[a-z][!\"#][a-z]")  # "di!erent", "o\"ces": nobody writes so
_BROKEN_FONT_FROM = 3
_LETTERS = re.compile(r"[filt]")
_IGNORED = re.compile(r"[filt\W_]+", re.IGNORECASE)  # what ligatures are made of, and what they are taken for


class WrittenLines:
    """The lines of all pages, by what a repair cannot change of them."""

    def __init__(self, pages: Iterable[Any]) -> None:
        texts = {page["page_number"]: page["content"] for page in pages}
        needs_repair = sum(len(_BROKEN_FONT.findall(text)) for text in texts.values()) >= _BROKEN_FONT_FROM
        self._lines = {} if needs_repair else dict(_suspects(texts))

    def restored(self, text: str, page: int | None) -> str:
        if not self._lines:
            return text
        return "\n".join(self._restored(line, page or 0) for line in text.split("\n"))

    def _restored(self, line: str, page: int) -> str:
        """Only what has gained letters was repaired: `12` is not `12%` from elsewhere on the page."""
        written = self._lines.get((page, _key(line)), line)
        return written if len(_LETTERS.findall(line)) > len(_LETTERS.findall(written)) else line


def _suspects(texts: Mapping[int, str]) -> Iterator[tuple[tuple[int, str], str]]:
    for page, text in texts.items():
        for line in text.splitlines():
            if _SUSPECT.search(line):
                yield (page, _key(line)), line.strip()


def _key(line: str) -> str:
    return _IGNORED.sub("", line)
