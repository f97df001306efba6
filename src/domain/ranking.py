"""Putting what was found by words and what was found by meaning into one order."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import Passage, ScoreParts, StoredChunk

# Chosen on five collections in English and Chinese (see benchmarks/README.md), together with the weight of the hashed
# vectors: any of them a third up or down is within the noise.
BM25_SHARE, WORDS_SHARE, PAIRS_SHARE = 0.54, 0.23, 0.23
LONGEST_QUESTION = 64  # words; what has more is an excerpt
MOST_LOOKED_FOR = 512  # of them
MOST_CHARACTERS = 256  # of Chinese and Japanese, in which nothing shows where words end
MOST_WORDS = 48  # of a query that are looked for in every candidate; longer ones are excerpts
BACKGROUND_TEXTS = 20  # that have nothing in them: among two texts, each word would be in half of all
SHORTEST_STEM = 4

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|[^\W_{_CJK}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A chunk that a search has come upon, and by what."""

    stored: StoredChunk
    parts: ScoreParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A candidate in its place, with all parts of its score."""

    candidate: Candidate
    parts: ScoreParts

    @property
    def score(self) -> float:
        """The one that counts, between 0 and 1."""
        return self.parts.fused if self.parts.reranked is None else min(max(self.parts.reranked, 0.0), 1.0)


def fused(candidates: Iterable[Candidate], *, cosine_weight: float, query: str = "") -> list[Ranked]:
    """All candidates, best first: the cosine by its weight, the rest by their text.

    The text counts by its full-text score relative to the best, by the share of the folded query's words it has, and by
    the share of the query's pairs of neighbouring words that are neighbours in it, too; rare ones are a larger share.
    (The pairs are the ordered features of Metzler and Croft's sequential dependence model, SIGIR 2005.) Sums of scores
    beat fusion by rank on every collection measured. Equals are ordered by document and position, so that the same
    search gives the same order.
    """
    found = list(candidates)
    highest = max((candidate.parts.bm25 for candidate in found), default=0.0) or 1.0
    texts = [candidate.stored.chunk.search_text.replace("\n", " ") for candidate in found]
    words, pairs = _units(query)
    having_words = _shares(words, texts)
    having_pairs = _shares(pairs, texts) if pairs else having_words
    ranked = []
    for candidate, has_words, has_pairs in zip(found, having_words, having_pairs, strict=True):
        bm25 = candidate.parts.bm25 / highest
        text = BM25_SHARE * bm25 + WORDS_SHARE * has_words + PAIRS_SHARE * has_pairs if words else bm25
        cosine = min(max(candidate.parts.cosine, 0.0), 1.0)
        score = min(cosine_weight * cosine + (1 - cosine_weight) * text, 1.0)
        parts = replace(candidate.parts, words=has_words, pairs=has_pairs, fused=score)
        ranked.append(Ranked(candidate=candidate, parts=parts))
    return sorted(ranked, key=_order)


def merged(rankings: Iterable[Sequence[Ranked]]) -> list[Ranked]:
    """Several rankings as one."""
    return sorted((one for ranking in rankings for one in ranking), key=_order)


def reranked(ranked: Sequence[Ranked], scores: Sequence[float]) -> list[Ranked]:
    """The first ones by their new scores, of which there is one for each. The rest is left out: scores of two kinds
    cannot be compared."""
    again = [replace(one, parts=replace(one.parts, reranked=score)) for one, score in zip(ranked, scores, strict=False)]
    return sorted(again, key=_order)


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


def looked_for(folded: str) -> str:
    """What of a query goes into the full-text index. Of a long excerpt each word once, and so many at the most: common
    ones are in it again and again, and each time costs another look at every passage that has them."""
    runs = list(_RUN.finditer(folded))
    words = [run.group() for run in runs if not run["cjk"]]
    characters = [run["cjk"] for run in runs if run["cjk"]]
    if len(words) <= LONGEST_QUESTION and sum(map(len, characters)) <= MOST_CHARACTERS:
        return folded
    few = " ".join(dict.fromkeys(characters))[:MOST_CHARACTERS]
    return " ".join([*list(dict.fromkeys(words))[:MOST_LOOKED_FOR], few]).strip()


def stem(word: str) -> str:
    """Without its last two letters, so that `holidays` is found in `holiday`."""
    return word[: max(SHORTEST_STEM, len(word) - 2)] if word.isascii() else word


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


def _units(query: str) -> tuple[list[str], list[str]]:
    """The stems of a query's first words, each once, and its pairs of neighbouring words as they stand in a text.
    Each character of Chinese and Japanese counts as a word."""
    found = [
        (word, bool(run["cjk"]))
        for run in _RUN.finditer(query)
        for word in (run.group() if run["cjk"] else [run.group()])
    ][:MOST_WORDS]
    words = [word if is_cjk else stem(word) for word, is_cjk in found]
    pairs = [
        first + second if is_cjk and follows else f"{first} {second if follows else stem(second)}"
        for (first, is_cjk), (second, follows) in pairwise(found)
    ]
    return list(dict.fromkeys(words)), list(dict.fromkeys(pairs))


def _shares(units: Sequence[str], texts: Sequence[str]) -> list[float]:
    """For each text the share, 0 to 1, of the units that it has, weighed by their rarity among all of these texts."""
    shares = [0.0] * len(texts)
    total = 0.0
    for unit in units:
        having = [number for number, text in enumerate(texts) if unit in text]
        rarity = math.log1p((BACKGROUND_TEXTS + len(texts) - len(having) + 0.5) / (len(having) + 0.5))
        total += rarity
        for number in having:
            shares[number] += rarity
    return [share / total for share in shares] if total else shares


def _order(ranked: Ranked) -> tuple[float, str, int]:
    stored = ranked.candidate.stored
    return -ranked.score, stored.document, stored.chunk.position
