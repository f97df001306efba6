"""Evaluating retrieval: each configuration in a folder of its own, which is gone afterwards."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from llm_backend.application.evaluating import Collection, EvaluateRetrieval, Evaluation, Progress
from llm_backend.application.ports.embedder import Embedders
from llm_backend.bootstrap.opening import open_backend
from llm_backend.config import Settings
from llm_backend.config.models import LEXICAL_MODEL
from llm_backend.config.sections import Database, Redis, Sqlite
from llm_backend.infrastructure.collections.folder import read_collection
from llm_backend.infrastructure.embedding.configured import NoEmbedders
from llm_backend.interface.evaluation.chart import chart_of
from llm_backend.interface.evaluation.report import Run, json_of, table_of
from llm_backend.interface.running import run

PAUSE = 0.2  # seconds between two looks of the terminal


def evaluate_retrieval(
    folder: Path, configurations: Sequence[tuple[str, Settings]], *, words_only: bool
) -> tuple[Collection, list[Run]]:
    """One run for each named configuration; the first with `words_only` without vectors."""
    collection = read_collection(folder)
    runs: list[Run] = []
    for number, (name, settings) in enumerate(configurations):
        if words_only and number == 0:
            evaluation = run(_evaluated(_without_models(settings), collection, NoEmbedders()))
            runs.append(Run(name=f"{name}, by words alone", evaluation=evaluation))
        else:
            runs.append(Run(name=name, evaluation=run(_evaluated(settings, collection))))
    return collection, runs


def report(collection: Collection, runs: Sequence[Run], *, plot: Path | None, json: Path | None) -> None:
    sys.stdout.write(table_of(collection, runs))
    if plot is not None:
        plot.write_text(chart_of(collection, runs), "utf-8")
    if json is not None:
        json.write_bytes(json_of(collection, runs))


async def _evaluated(settings: Settings, collection: Collection, asked: Embedders | None = None) -> Evaluation:
    """`asked` is where the vectors of questions come from, in place of what the configuration names."""
    with TemporaryDirectory(prefix="llm-backend-evaluation-") as folder:
        async with open_backend(_apart(settings, Path(folder))) as backend:
            owner = await backend.register_user("evaluation", "a password for nobody")
            retrieve = dataclasses.replace(backend.retrieve, embedders=asked) if asked else backend.retrieve
            evaluate = EvaluateRetrieval(backend.create_knowledge_base, backend.upload_document, retrieve)
            return await evaluate(owner, collection, _progress())


def _apart(settings: Settings, folder: Path) -> Settings:
    """The same models and limits, and nothing of what is stored anywhere."""
    return replace(
        settings,
        data_folder=folder,
        originals_uri=None,
        redis=Redis(),
        sqlite=Sqlite(),
        database=Database(),
        jobs=replace(settings.jobs, concurrency=settings.jobs.concurrency or 4),
        secrets_key_file=None,
        rag=replace(settings.rag, lancedb_uri=None, models_folder=settings.models_folder),
    )


def _without_models(settings: Settings) -> Settings:
    """What is built in embeds the documents: nobody looks at their vectors, and no model need be there."""
    rag = replace(settings.rag, embedding_models=(), default_embedding_model=LEXICAL_MODEL)
    return replace(settings, rag=rag)


def _progress() -> Progress:
    """A line on the terminal that is written over and over, and at the end over itself; elsewhere nothing."""
    last = 0.0

    def show(what: str, done: int, of: int) -> None:
        nonlocal last
        now = time.monotonic()
        if sys.stderr.isatty() and (now - last > PAUSE or done == of):
            last = now
            sys.stderr.write(f"\r\x1b[K{what} {done}/{of}" if done < of else "\r\x1b[K")
            sys.stderr.flush()

    return show
