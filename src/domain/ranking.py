"""Putting what was found by words and what was found by meaning into one order."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import Passage, ScoreParts, StoredChunk

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|[^\W_{_CJK}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A chunk that a search has come upon, and by what."""

    stored: StoredChunk
    parts: ScoreParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A candidate with its fused score, between 0 and 1."""

    candidate: Candidate
    score: float


def fused(candidates: Iterable[Candidate], *, cosine_weight: float) -> list[Ranked]:
    """All candidates, best first: the cosine by its weight, the rest by the full-text score relative to the best.

    Sums of scores beat fusion by rank on every collection measured. Equals are ordered by document and position, so
    that the same search gives the same order.
    """
    found = list(candidates)
    highest = max((candidate.parts.bm25 for candidate in found), default=0.0) or 1.0
    ranked = [Ranked(candidate=candidate, score=_score(candidate.parts, cosine_weight, highest)) for candidate in found]
    return sorted(ranked, key=_order)


def distinct(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Without those whose text a better one already has: the same file may have been uploaded twice."""
    seen: dict[str, Ranked] = {}
    for one in ranked:
        seen.setdefault(one.candidate.stored.chunk.text, one)
    return list(seen.values())


def fused_by_rank(lists: Iterable[Sequence[Passage]]) -> list[Passage]:
    """What several searches have found, best first, whose scores cannot be compared: by the sum of 1 / (60 + rank),
    as in Cormack et al., "Reciprocal rank fusion", 2009. Each passage once, with the best of its scores."""
    best: dict[tuple[DocumentId, int], Passage] = {}
    sums: defaultdict[tuple[DocumentId, int], float] = defaultdict(float)
    for found in lists:
        for rank, passage in enumerate(found, start=1):
            key = passage.document, passage.chunk.position
            sums[key] += 1 / (60 + rank)
            best[key] = max(passage, best.get(key, passage), key=lambda one: one.score)
    return [best[key] for key in sorted(sums, key=sums.__getitem__, reverse=True)]


def terms(folded: str) -> list[str]:
    """The words of a folded text, each once; of Chinese and Japanese the pairs of neighbouring characters."""
    found: dict[str, None] = {}
    for run in _RUN.finditer(folded):
        text = run.group()
        if run["cjk"] and len(text) > 1:
            found.update(dict.fromkeys(map("".join, pairwise(text))))
        else:
            found[text] = None
    return list(found)


def _score(parts: ScoreParts, cosine_weight: float, highest: float) -> float:
    cosine = min(max(parts.cosine, 0.0), 1.0)
    return min(cosine_weight * cosine + (1 - cosine_weight) * parts.bm25 / highest, 1.0)


def _order(ranked: Ranked) -> tuple[float, str, int]:
    stored = ranked.candidate.stored
    return -ranked.score, stored.document, stored.chunk.position
