"""Which sentences of a source a statement rests on, as far as words can tell."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from llm_backend.domain.sentences import Span, sentences
from llm_backend.domain.wording import Worded, plain, telling_terms

# A statement that shares less with its source is a paraphrase, or in another language: it rests on the source as a
# whole. Measured on XQuAD, with questions and answers put together as statements (`benchmarks/citing.py`): the answer
# is in 98 % of the quotes, which are 18 % of their sources. To be content with 85 % of the shared terms makes that
# 97 % and 13 %.
LEAST_SHARED = 0.5
LEAST_TERMS = 2
SHORTEST_QUOTATION = 3  # terms: fewer are a name, or irony
SHORTEST_PART = 4  # characters between two omissions

_QUOTATION = re.compile(
    r"\"([^\"\n]{4,})\"|“([^”\n]{4,})”|「([^」\n]{4,})」|『([^』\n]{4,})』|«([^»\n]{4,})»|„([^“”\n]{4,})[“”]"
)
_OMISSION = re.compile(r"\s*[\[(]?(?:\.{3,}|…+)[\])]?\s*")
_ALIKE = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "⟦": "[", "⟧": "]"})

_PER_SENTENCE = 200  # characters that are looked through in the time that it takes to turn to another sentence
_LOOSE = " .,;:!?。，；：！？"  # may be put before a closing mark without being quoted
_UNSEEN = {"Cc", "Cf", "Mn"}


class Evidence(NamedTuple):
    """Characters `start` to `end` of a source; and whether something is quoted that the source does not say."""

    start: int
    end: int
    is_misquoted: bool = False


class Statement:
    """Something said, prepared to be looked for in several sources."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def terms(self) -> Sequence[str]:
        return telling_terms(plain(self.text))

    @cached_property
    def quotations(self) -> Sequence[str]:
        """What stands in quotation marks and is long enough to be somebody's words, flattened; the parts of it, where
        something is left out."""
        written = [next(filter(None, groups)) for groups in _QUOTATION.findall(self.text)]
        words = [one for one in written if len(telling_terms(plain(one))) >= SHORTEST_QUOTATION]
        parts = [_flattened(part.strip(_LOOSE))[0] for one in words for part in _OMISSION.split(one)]
        return [part for part in parts if len(part) >= SHORTEST_PART]


class SourceText:
    """A source, prepared to be looked through for statements."""

    def __init__(self, text: str) -> None:
        self._text = text

    def work(self, statement: Statement) -> int:
        """What it costs to find the evidence: each term is looked for in each sentence, some 0.3 µs, and each term and
        quotation in the whole, which goes by its characters."""
        wanted = 1 + len(statement.terms)
        return wanted * len(self._sentences) + (wanted + len(statement.quotations)) * len(self._text) // _PER_SENTENCE

    def evidence(self, statement: Statement) -> Evidence:
        """The sentences that bear a statement; all of them where that cannot be told."""
        quoted = [self._find(part) for part in statement.quotations]
        found = [span for span in quoted if span is not None]
        if len(found) < len(quoted):
            return Evidence(0, len(self._text), is_misquoted=True)
        spans = [*found, *self._window(statement.terms)]
        if not spans:
            return Evidence(0, len(self._text))
        start, end = min(span.start for span in spans), max(span.end for span in spans)
        return Evidence(*self._whole_sentences(start, end))

    @cached_property
    def _sentences(self) -> Sequence[Span]:
        return list(sentences(self._text))

    @cached_property
    def _worded(self) -> Sequence[Worded]:
        """The sentences, in order."""
        return [Worded(plain(self._text[span.start : span.end])) for span in self._sentences]

    @cached_property
    def _all(self) -> Worded:
        return Worded("\n".join(sentence.text for sentence in self._worded))

    @cached_property
    def _flat(self) -> tuple[str, Sequence[int]]:
        return _flattened(self._text)

    def _find(self, quoted: str) -> Span | None:
        flat, places = self._flat
        start = flat.find(quoted)
        return Span(places[start], places[start + len(quoted) - 1] + 1) if start >= 0 else None

    def _window(self, wanted: Sequence[str]) -> list[Span]:
        """The shortest row of sentences that has all the terms which the source has at all."""
        known = self._all.having(wanted)
        if len(known) < max(LEAST_TERMS, LEAST_SHARED * len(wanted)):
            return []
        first, last = _shortest_window([sentence.having(known) for sentence in self._worded], len(known))
        return [self._sentences[first], self._sentences[last]]

    def _whole_sentences(self, start: int, end: int) -> tuple[int, int]:
        touched = [span for span in self._sentences if span.start < end and span.end > start]
        return min(start, touched[0].start), max(end, touched[-1].end)


def _shortest_window(having: Sequence[set[str]], enough: int) -> tuple[int, int]:
    """The first and last place of the shortest row of sets that together have that many members."""
    best = 0, len(having) - 1
    inside: Counter[str] = Counter()
    first = 0
    for last, terms in enumerate(having):
        inside.update(terms)
        while len(inside) >= enough:
            if last - first < best[1] - best[0]:
                best = first, last
            inside.subtract(having[first])
            inside = +inside
            first += 1
    return best


def _flattened(text: str) -> tuple[str, list[int]]:
    """Without blanks, accents, invisible characters and differences of form, and where each character came from."""
    flat: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for simple in unicodedata.normalize("NFKD", character).casefold().translate(_ALIKE):
            if not simple.isspace() and unicodedata.category(simple) not in _UNSEEN:
                flat.append(simple)
                places.append(place)
    return "".join(flat), places
