"""Reads a folder as BEIR lays it out: `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from llm_backend.application.evaluating import Collection, JudgedDocument, JudgedQuery
from llm_backend.domain.errors import Invalid

LARGEST_GRADE = 1000

T = TypeVar("T")


class InvalidCollection(Invalid):
    """The message says which line of which file."""

    code = "invalid_collection"
    default_message = "The folder is no collection for an evaluation"


class _Document(msgspec.Struct):
    """BEIR's own files say `_id`, others `id`."""

    text: str
    title: str = ""
    id: str | int = msgspec.field(default="")
    beir_id: str | int = msgspec.field(default="", name="_id")


class _Query(msgspec.Struct):
    text: str
    id: str | int = msgspec.field(default="")
    beir_id: str | int = msgspec.field(default="", name="_id")
    answers: list[str] = []
    answer: str = ""


def _id_of(one: _Document | _Query) -> str:
    return str(one.beir_id if one.id == "" else one.id)


def read_collection(folder: Path) -> Collection:
    """Questions without a relevant document are left out. Raises `InvalidCollection` or `OSError`."""
    grades = _grades(folder / "qrels.tsv")
    documents = [
        JudgedDocument(id=_id_of(one), title=one.title, text=one.text)
        for one in _lines(folder / "corpus.jsonl", _Document)
        if one.text.strip() or one.title.strip()
    ]
    queries = [
        JudgedQuery(
            id=_id_of(one),
            text=one.text,
            grades=grades[_id_of(one)],
            answers=[answer for answer in (*one.answers, one.answer) if answer],
        )
        for one in _lines(folder / "queries.jsonl", _Query)
        if _id_of(one) in grades
    ]
    if not documents or not queries:
        raise InvalidCollection(f"{folder} has no documents, or no questions with a relevant document")
    return Collection(name=folder.resolve().name, documents=documents, queries=queries)


def _lines(file: Path, kind: type[T]) -> Iterator[T]:
    decoder = msgspec.json.Decoder(kind)
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidCollection(f"{file}, line {number}: {error}") from error


def _grades(file: Path) -> Mapping[str, Mapping[str, int]]:
    """By question, only what is above 0. A head line is passed over, as is TREC's column of zeros."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = line.decode().rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                raise InvalidCollection(f"{file}, line {number}: {error}") from error
            if row == [""] or (number == 1 and not _is_grade(row[-1])):
                continue
            if len(row) not in {3, 4} or not _is_grade(row[-1]):
                raise InvalidCollection(f"{file}, line {number}: expected question, document and grade")
            if (grade := int(row[-1])) > 0:
                grades[row[0]][row[-2]] = grade
    return grades


def _is_grade(text: str) -> bool:
    digits = text.strip().removeprefix("-")
    return digits.isascii() and digits.isdigit() and int(digits[:9]) <= LARGEST_GRADE
