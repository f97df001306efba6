"""How good a ranking is, and how sure one can be of that.

nDCG as Järvelin and Kekäläinen define it (2002), with the grade itself as gain, as trec_eval computes it. Intervals and
comparisons are bootstraps over queries (Sakai, SIGIR 2006).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

RESAMPLES = 2000
CONFIDENCE = 0.95

Grades = Mapping[str, int]  # of relevant documents; 0 or nothing is not relevant


def ndcg(ranking: Sequence[str], grades: Grades, depth: int) -> float:
    """Normalized discounted cumulative gain of the first `depth`, 0 to 1."""
    ideal = sorted(grades.values(), reverse=True)[:depth]
    best = _discounted(ideal)
    return _discounted([grades.get(one, 0) for one in ranking[:depth]]) / best if best else 0.0


def recall(ranking: Sequence[str], grades: Grades, depth: int) -> float:
    """The share of the relevant documents that is among the first `depth`."""
    relevant = {document for document, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranking[:depth])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], grades: Grades, depth: int) -> float:
    """One divided by the place of the first relevant document, 0 if that is behind `depth`."""
    places = (place for place, one in enumerate(ranking[:depth], start=1) if grades.get(one, 0) > 0)
    return 1 / next(places, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over queries, and between which bounds it is with 95 % confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """By how much the second is better than the first on the same queries. `p_value` is two-sided: how often chance
    alone would make a difference as large as this."""

    estimate: Estimate
    p_value: float

    @property
    def is_significant(self) -> bool:
        return not self.estimate.low <= 0 <= self.estimate.high


def estimated(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """By the percentile bootstrap; the same values and seed give the same bounds."""
    if not values:
        return Estimate(mean=0.0, low=0.0, high=0.0)
    means = sorted(_resampled_means(values, seed))
    cut = round((1 - CONFIDENCE) / 2 * len(means))
    return Estimate(mean=fmean(values), low=means[cut], high=means[-1 - cut])


def compared(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Difference:
    """By the paired bootstrap. Both have one value for each query, in the same order."""
    differences = [after - before for before, after in zip(first, second, strict=True)]
    estimate = estimated(differences, seed=seed)
    centred = [difference - estimate.mean for difference in differences]
    as_far = sum(abs(mean) >= abs(estimate.mean) for mean in _resampled_means(centred, seed))
    return Difference(estimate=estimate, p_value=(as_far + 1) / (RESAMPLES + 1))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else 0.0


def _discounted(grades: Sequence[int]) -> float:
    return math.fsum(grade / math.log2(place + 1) for place, grade in enumerate(grades, start=1))


def _resampled_means(values: Sequence[float], seed: int) -> list[float]:
    chance = Random(seed)  # noqa: S311 - no secret
    return [fmean(chance.choices(values, k=len(values))) for _ in range(RESAMPLES)] if values else []
