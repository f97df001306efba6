"""How well the sentences are found that a statement rests on: `python -m benchmarks.citing FOLDER …`

A question and its answer stand for a statement, which cites a source of three paragraphs: the one that the answer is
in, and its neighbours. The folder has `corpus.jsonl`, and `queries.jsonl` with `doc`, `answer` and `start`.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from llm_backend.domain.citations import Place, Source, cited
from llm_backend.domain.ids import DocumentId


class Trial(NamedTuple):
    """Whether the quote has the answer in it, and its share of the source."""

    has_answer: bool
    share: float


def trials(folder: Path) -> Iterator[Trial]:
    corpus = _rows(folder / "corpus.jsonl")
    places = {row["id"]: place for place, row in enumerate(corpus)}
    for row in _rows(folder / "queries.jsonl"):
        place = places[row["doc"]]
        before = "".join(one["text"] + "\n" for one in corpus[max(place - 1, 0) : place])
        text = before + "\n".join(one["text"] for one in corpus[place : place + 2])
        source = Source(
            number=1, document=DocumentId("d"), document_name="d", start=0, text=text, places=(Place(start=0),),
            verified=True,
        )  # fmt: skip
        (citation,) = cited(f"{row['text'].rstrip('?？')} {row['answer']} [1]", [source])
        start = len(before) + row["start"]
        has_answer = citation.start <= start and start + len(row["answer"]) <= citation.end
        yield Trial(has_answer, len(citation.quote) / len(text))


def main(folders: Sequence[Path]) -> None:
    print(
        "| collection | narrowed | quote has the answer | of those narrowed | length of these |\n|---|---|---|---|---|"
    )
    for folder in folders:
        every = list(trials(folder))
        narrowed = [trial for trial in every if trial.share < 1]
        shares = [
            len(narrowed) / len(every),
            mean(trial.has_answer for trial in every),
            mean(trial.has_answer for trial in narrowed),
            mean(trial.share for trial in narrowed),
        ]
        print(f"| {folder.name} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    main(parser.parse_args().folders)
