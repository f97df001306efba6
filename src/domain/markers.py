"""Taking the markers that a model cites by out of its text, while it arrives."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from llm_backend.domain.citations import MARKER, Citation, Claim, numbers_in

FENCE = "```"

_OF_INTEREST = re.compile(r"`| ?[\[【［]| \Z")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_MARKER = re.compile(" ?" + MARKER.pattern)
_UNFINISHED = re.compile(r" ?[\[【［][^\]】］\n]{0,400}\Z| \Z")  # no marker is longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Where in the text without markers stands what `claim` says of `citation`."""

    citation: Citation
    claim: Claim
    start: int
    end: int

    @property
    def quote(self) -> str:
        """What of the document bears it."""
        citation, claim = self.citation, self.claim
        return citation.quote[claim.start - citation.start : claim.end - citation.start]


class Unmarked:
    """A text without the markers that name `numbers`, and what was there. How it is chopped makes no difference.

    Code is left as it is. A blank before a marker goes with it.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = numbers
        self._held = ""
        self._in_code = False
        self._raw: list[str] = []
        self._shown: list[str] = []
        self._looked_at = 0  # characters of the text with markers
        self._cuts: list[tuple[int, int]] = []

    @property
    def raw(self) -> str:
        return "".join(self._raw)

    @property
    def text(self) -> str:
        return "".join(self._shown)

    def feed(self, text: str) -> str:
        """What can be told by now."""
        self._raw.append(text)
        if not self._numbers:
            self._shown.append(text)
            return text
        self._held += text
        return self._told(final=False)

    def finish(self) -> str:
        """What was held back after all."""
        return self._told(final=True)

    def annotations(self, citations: Sequence[Citation], *, offset: int = 0) -> list[Annotation]:
        """Those of this text, which is `offset` characters behind the beginning of what `citations` are about."""
        found = [
            Annotation(
                citation=citation,
                claim=claim,
                start=self._place(claim.answer_start - offset),
                end=self._place(claim.answer_end - offset),
            )
            for citation in citations
            for claim in citation.claims
            if offset <= claim.answer_start and claim.answer_end <= offset + len(self.raw)
        ]
        return sorted(found, key=lambda one: (one.end, one.citation.number))

    def _place(self, raw: int) -> int:
        """Of a character in the text without markers."""
        return raw - sum(min(end, raw) - start for start, end in self._cuts if start < raw)

    def _told(self, *, final: bool) -> str:
        text, place, told = self._held, 0, []
        for length, is_shown in self._pieces(text, final=final):
            piece = text[place : place + length]
            if is_shown:
                told.append(piece)
            else:
                self._cuts.append((self._looked_at, self._looked_at + length))
            place += length
            self._looked_at += length
        self._held = text[place:]
        self._shown += told
        return "".join(told)

    def _pieces(self, text: str, *, final: bool) -> Iterator[tuple[int, bool]]:
        """How long each next piece of the text is, and whether it is shown; up to what may still become a marker."""
        place = 0
        while place < len(text):
            if self._in_code:
                length = _code_at(text, place, final=final)
                self._in_code = not text.startswith(FENCE, place + length - len(FENCE)) or length < len(FENCE)
                yield length, True
            else:
                found = _OF_INTEREST.search(text, place)
                if found is None or found.start() > place:
                    length = (found.start() if found else len(text)) - place
                    yield length, True
                else:
                    length, is_shown = self._special(text, place, final=final)
                    yield length, is_shown
            if length == 0:
                return
            place += length

    def _special(self, text: str, place: int, *, final: bool) -> tuple[int, bool]:
        """At what may be code or a marker. No characters: it is too early to say."""
        if text[place] == "`":
            return self._backtick(text, place, final=final), True
        if marker := _MARKER.match(text, place):
            named = set(numbers_in(marker["numbers"]))
            return marker.end() - place, named.isdisjoint(self._numbers)
        return (0 if not final and _UNFINISHED.match(text, place) else 1), True

    def _backtick(self, text: str, place: int, *, final: bool) -> int:
        if text.startswith(FENCE, place):
            self._in_code = True
            return len(FENCE)
        if not final and text[place:] in {"`", "``"}:
            return 0
        if code := _INLINE_CODE.match(text, place):
            return code.end() - place
        return 0 if not final and "\n" not in text[place:] else 1


def _code_at(text: str, place: int, *, final: bool) -> int:
    """How much of it is code for sure, up to and with its end."""
    end = text.find(FENCE, place)
    if end >= 0:
        return end + len(FENCE) - place
    backticks = 0 if final else len(text[place:]) - len(text[place:].rstrip("`"))
    return len(text) - place - backticks


def unmarked(text: str, numbers: Collection[int]) -> Unmarked:
    """The same for a whole text."""
    whole = Unmarked(numbers)
    whole.feed(text)
    whole.finish()
    return whole
