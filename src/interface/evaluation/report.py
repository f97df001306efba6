"""Evaluations as tables for a terminal, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_backend.application.evaluating import Collection, Evaluation
from llm_backend.domain.measures import Estimate, compared, estimated, percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An evaluation, and what it is called."""

    name: str
    evaluation: Evaluation

    @property
    def estimates(self) -> Mapping[str, Estimate]:
        return {measure: estimated(values) for measure, values in self.evaluation.measures.items()}

    def milliseconds(self, share: float) -> float:
        return 1000 * percentile(self.evaluation.query_seconds, share)


def table_of(collection: Collection, runs: Sequence[Run]) -> str:
    """One block for each run; of two, the comparison as well."""
    head = f"{collection.name}: {len(collection.documents)} documents, {len(collection.queries)} questions"
    blocks = [head, *map(_block, runs)]
    if len(runs) == 2:
        blocks.append(_comparison(*runs))
    return "\n\n".join(blocks) + "\n"


def json_of(collection: Collection, runs: Sequence[Run]) -> bytes:
    """The same, with the value of each question."""
    document: dict[str, Any] = {
        "collection": collection.name,
        "documents": len(collection.documents),
        "questions": [query.id for query in collection.queries],
        "runs": [_run_as_data(run) for run in runs],
    }
    if len(runs) == 2:
        document["differences"] = {
            measure: compared(values, runs[1].evaluation.measures[measure])
            for measure, values in runs[0].evaluation.measures.items()
        }
    return msgspec.json.format(msgspec.json.encode(document))


def _run_as_data(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "measures": {measure: msgspec.to_builtins(estimate) for measure, estimate in run.estimates.items()},
        "values": run.evaluation.measures,
        "degraded": run.evaluation.degraded,
        "upload_seconds": run.evaluation.upload_seconds,
        "query_ms": {"p50": run.milliseconds(0.5), "p95": run.milliseconds(0.95)},
    }


def _block(run: Run) -> str:
    lines = [f"{run.name}"]
    lines += [
        f"  {measure:<12} {estimate.mean:.4f}   [{estimate.low:.4f}, {estimate.high:.4f}]"
        for measure, estimate in run.estimates.items()
    ]
    lines.append(f"  {'a question':<12} p50 {run.milliseconds(0.5):.1f} ms, p95 {run.milliseconds(0.95):.1f} ms")
    if run.evaluation.degraded:
        questions = len(run.evaluation.query_seconds)
        lines.append(f"  {'degraded':<12} {run.evaluation.degraded} of {questions}: without vectors or reranking")
    return "\n".join(lines)


def _comparison(first: Run, second: Run) -> str:
    lines = [f"{second.name} against {first.name}, by paired bootstrap"]
    for measure, values in first.evaluation.measures.items():
        difference = compared(values, second.evaluation.measures[measure])
        estimate = difference.estimate
        verdict = "" if difference.is_significant else "   not significant"
        bounds = f"[{estimate.low:+.4f}, {estimate.high:+.4f}]"
        lines.append(f"  {measure:<12} {estimate.mean:+.4f}  {bounds}   p = {difference.p_value:.3f}{verdict}")
    return "\n".join(lines)
