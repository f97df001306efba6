"""What an answer rests on, down to the character: nothing is cited that the model has not named, and of a source no
more than the sentences that bear the statement, where they can be told."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from llm_backend.domain.evidence import LEAST_TERMS, Evidence, SourceText, Statement
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, FileId
from llm_backend.domain.sentences import SENTENCE_END
from llm_backend.domain.wording import plain, telling_terms

MOST_STATEMENTS = 2000  # of an answer that are looked at: more than anybody reads, and soon done
LONGEST_CLAIM = 1000  # characters
MOST_WORK = 2_000_000
"""As `SourceText.work` counts it, for all pairs that are compared: at most half a second or so, of texts made for that.
Sixty statements on sources that fill a prompt's 6,000 tokens are 200,000 in English and 800,000 in Chinese."""

# As models write them: [1], [1][2], [1, 2], [1-3], [1 and 2], [^1], [Source 1], [Sources: 1, 2], and in Chinese 【1】,
# ［1］, 【1、2】, 【1和2】, 【来源：1】, 【1†…】.
_NUMBER = r"\^?\d{1,3}"
MARKER = re.compile(
    r"[\[【［] ?(?:(?:[Ss]ources?|来源|來源|资料|資料) ?[:：]? ?)?"
    rf"(?P<numbers>{_NUMBER}(?:(?: ?[,，、;；&和与與\-–—] ?|,? and ){_NUMBER}){{0,31}})"
    r"(?:†[^\]】］\n]{0,64})? ?[\]】］]"
)
_RANGE = re.compile(r"\^?(\d+)(?: ?[\-–—] ?\^?(\d+))?")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_SENTENCE_OR_MARKER = re.compile(rf"{SENTENCE_END.pattern}|{MARKER.pattern}")
_NOT_A_STATEMENT = " \t\r\n,;:，；：、*#>|-"
_MOST_NUMBERS = 64  # behind one statement
_BETWEEN_MARKERS = re.compile(r"[\s,，、;；]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What stands where: from character `start` of the document on, this page and these headings, outermost first."""

    start: int
    page: int | None = None
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a prompt shows as source `[number]`: `text` stands from character `start` of the document on.

    `verified` says that it was compared with the stored text. There is a place for each part, in order. `score` is the
    best of its parts, from 0 to 1. `file` and its `attributes` are as they were when it was found.
    """

    number: int
    document: DocumentId
    document_name: str
    start: int
    text: str
    places: tuple[Place, ...]
    verified: bool = False
    score: float | None = None
    file: FileId | None = None
    attributes: Attributes = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement of the answer, its characters `answer_start` to `answer_end`, and where in the document stands what
    bears it: characters `start` to `end`."""

    answer_start: int
    answer_end: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Source `[number]` of an answer: `quote` is characters `start` to `end` (Unicode code points) of the document.

    The quote reaches from the first to the last sentence that a claim rests on; it is the whole source when that
    cannot be told of one of them. `page` (from 1) and `headings` are those at its start. `verified`: the quote was
    compared with the stored text when the answer was asked for, and whatever the answer puts in quotation marks
    before this number is in this source, word for word, however many others are named beside it. `file` is what the
    document is from, as far as that is known.
    """

    number: int
    document: DocumentId
    document_name: str
    start: int
    end: int
    page: int | None = None
    headings: tuple[str, ...] = ()
    quote: str
    verified: bool
    claims: tuple[Claim, ...] = ()
    file: FileId | None = None


def cited(answer: str, sources: Sequence[Source]) -> tuple[Citation, ...]:
    """The sources that the answer names, by number. Numbers that no source has are ignored, and so is code.

    Only the first `MOST_STATEMENTS` are looked at; of an answer that has more, nothing is `verified`. They are compared
    with their sources, in order, until `MOST_WORK` is used up; those that are left then rest on their sources as a
    whole, which are not `verified`.
    """
    known = {source.number: source for source in sources}
    texts = {source.number: SourceText(source.text) for source in sources}
    found: dict[int, list[Claim]] = {}
    doubtful: set[int] = set()
    left = MOST_WORK
    statements = (one for one in _statements(answer) if not known.keys().isdisjoint(one[2]))
    for start, end, numbers in islice(statements, MOST_STATEMENTS):
        statement = Statement(answer[start:end])
        for number in sorted(known.keys() & numbers):
            source, text = known[number], texts[number]
            left -= text.work(statement)
            evidence = Evidence(0, len(source.text)) if left < 0 else text.evidence(statement)
            if left < 0 or evidence.is_misquoted:
                doubtful.add(number)
            found.setdefault(number, []).append(_claim(source, start, end, evidence))
    if next(statements, None):
        doubtful.update(found)
    return tuple(
        _citation(known[number], claims, doubtful=number in doubtful) for number, claims in sorted(found.items())
    )


def _claim(source: Source, start: int, end: int, evidence: Evidence) -> Claim:
    return Claim(
        answer_start=start,
        answer_end=end,
        start=source.start + evidence.start,
        end=source.start + evidence.end,
    )


def _citation(source: Source, claims: Sequence[Claim], *, doubtful: bool) -> Citation:
    if not source.verified:  # its offsets are in doubt, and so would be those of a part of it
        claims = [replace(claim, start=source.start, end=source.end) for claim in claims]
    start, end = min(claim.start for claim in claims), max(claim.end for claim in claims)
    place = source.places[max(bisect_right([place.start for place in source.places], start) - 1, 0)]
    return Citation(
        number=source.number,
        document=source.document,
        document_name=source.document_name,
        start=start,
        end=end,
        page=place.page,
        headings=place.headings,
        quote=source.text[start - source.start : end - source.start],
        verified=source.verified and not doubtful,
        claims=tuple(claims),
        file=source.file,
    )


# Markers and what stands before them ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Marker:
    """Numbers of sources, and where they stand in the answer."""

    start: int
    end: int
    numbers: tuple[int, ...]


def _statements(answer: str) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Start and end of each statement with numbers behind it, and the numbers."""
    text = _CODE.sub(lambda code: " " * len(code.group()), answer)
    end = 0
    for marker in _markers(text):
        yield *_statement(text, end, marker), marker.numbers
        end = marker.end


def _markers(text: str) -> Iterator[_Marker]:
    """Those that follow each other directly are one."""
    last: _Marker | None = None
    for match in MARKER.finditer(text):
        numbers = tuple(numbers_in(match["numbers"]))
        if last and _BETWEEN_MARKERS.fullmatch(text, last.end, match.start()):
            last = _Marker(last.start, match.end(), (*last.numbers, *numbers)[:_MOST_NUMBERS])
            continue
        if last:
            yield last
        last = _Marker(match.start(), match.end(), numbers)
    if last:
        yield last


def numbers_in(written: str) -> Iterator[int]:
    """Those that a marker names."""
    for match in _RANGE.finditer(written):
        first, last = int(match[1]), int(match[2] or match[1])
        yield from range(first, last + 1)


def _statement(text: str, lower: int, marker: _Marker) -> tuple[int, int]:
    """The sentence before a marker; what follows it where nothing is said before, as in "according to [1], …"."""
    start, end = _trimmed(text, max(lower, marker.start - LONGEST_CLAIM), marker.start)
    ends = (match.end() for match in SENTENCE_END.finditer(text, start, end))
    start, end = _trimmed(text, max((one for one in ends if one < end), default=start), end)
    if _says_something(text[start:end]):
        return start, end
    upper = min(marker.end + LONGEST_CLAIM, len(text))
    after = _SENTENCE_OR_MARKER.search(text, marker.end, upper)
    behind = _trimmed(text, marker.end, after.start() if after else upper)
    return behind if _says_something(text[slice(*behind)]) else (start, end)


def _says_something(text: str) -> bool:
    return len(telling_terms(plain(text))) >= LEAST_TERMS


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inside = text[start:end]
    visible = inside.strip(_NOT_A_STATEMENT)
    first = start + (inside.index(visible) if visible else 0)
    return first, first + len(visible)
